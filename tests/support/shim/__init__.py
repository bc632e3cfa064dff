"""A pod whose connections are redirected to a proxy, behind a load balancer that replaces services' addresses."""
