"""Store a key in etcd, by its JSON gateway; without a key: does etcd answer?

etcd_put.py ENDPOINT [KEY VALUE]
"""

import base64
import json
import sys
import urllib.request


def main(endpoint: str, key: str = "", value: str = "") -> None:
    """Fails with whatever is wrong."""
    path = "kv/put" if key else "maintenance/status"
    pair = {"key": encoded(key), "value": encoded(value)} if key else {}
    urllib.request.urlopen(f"{endpoint}/v3/{path}", json.dumps(pair).encode(), timeout=5).read()  # noqa: S310  # http


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


if __name__ == "__main__":
    main(*sys.argv[1:])
