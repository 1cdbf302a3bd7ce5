"""Takes the gateway's arguments and variables: ``posix FOLDER``, ``VGW_PORT``, ``VGW_HEALTH``, ``ROOT_…``."""

import os
import signal
import sys
import threading
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import ThreadedMotoServer

PORT = int(os.environ["VGW_PORT"].lstrip(":"))
HEALTH = os.environ["VGW_HEALTH"]
dispatch = DomainDispatcherApplication.__call__


def answer(application: DomainDispatcherApplication, environ: WSGIEnvironment, start: StartResponse) -> object:
    """Say that all is well where it is asked for; all else is moto's."""
    if environ["PATH_INFO"] == HEALTH:
        start("200 OK", [])
        return [b""]
    return dispatch(application, environ, start)


DomainDispatcherApplication.__call__ = answer
ThreadedMotoServer(ip_address="0.0.0.0", port=PORT).start()
store = boto3.client(
    "s3",
    endpoint_url=f"http://127.0.0.1:{PORT}",
    region_name=os.environ["VGW_REGION"],
    aws_access_key_id=os.environ["ROOT_ACCESS_KEY_ID"],
    aws_secret_access_key=os.environ["ROOT_SECRET_ACCESS_KEY"],
)
for place in Path(sys.argv[2]).iterdir():
    store.create_bucket(Bucket=place.name)
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
ended.wait()
