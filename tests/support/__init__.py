"""What tests share: small networks, made-up data, clips and files of every kind."""
