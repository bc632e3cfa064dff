"""What the agents' plugins ask for a pod when all is well, call by call."""

CREATED = ["GET /v1/config 200 ×2", "POST /v1/ipam 201", "PUT /v1/endpoint/cilium-local:0 201"]
WELL = ["GET /v1/config 200", "GET /v1/endpoint/cni-attachment-id:ID:eth0/healthz 200"]
DELETED = {
    "1.20": ["GET /v1/config 200", "DELETE /v1/endpoint/cni-attachment-id:ID:eth0 200"],
    "1.18": ["GET /v1/config 200", "DELETE /v1/endpoint 200"],
}
GONE_ALREADY = {version: [call.replace(" 200", " 404") for call in calls[1:]] for version, calls in DELETED.items()}
LOOKED_UP = ["GET /api/v1/namespaces/{}/pods/POD 200", "GET /api/v1/namespaces/{} 200"]


def looked_up(namespace: str) -> list[str]:
    return [call.format(namespace) for call in LOOKED_UP]
