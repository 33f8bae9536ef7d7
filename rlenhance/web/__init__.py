"""The web page of `rlenhance demo`: the same Enhancer as the command line, for people who do not type commands.

`service` and its neighbours do the work and know nothing of the web; `door`, `api` and `server` are the way in; `page`
and the `*_tab` files are what people see, and import Gradio.
"""
