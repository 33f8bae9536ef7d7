"""The web page of `rlenhance demo`: the pipelines of the command line in a browser, and an HTTP API.

`service`, `complete_service` and `previews` do the work without any web code; `security`, `api` and `server` are the
web service; `page`, `components` and `tabs` are the user interface, and import Gradio.
An invalid request raises UsageError, which the page shows and the API answers as JSON.
"""
