"""The Kubernetes API, as a pod asks it with its account's token."""

import json
import os
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def get(path: str) -> Any:
    """An object or a list; None if it can't be had: it isn't there, the account may not see it, or nobody answers."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    token = Path(ACCOUNT, "token").read_text().strip()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the lab's server has made its own
    request = urllib.request.Request(f"https://{host}:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:  # noqa: S310  # https
            return json.load(answer)
    except OSError as error:  # also every status but 200
        print(f"{path}: {error}", file=sys.stderr, flush=True)
        return None
