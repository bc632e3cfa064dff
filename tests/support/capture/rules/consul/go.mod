module cni-chain.invalid/tests/capture/consul

go 1.26.0

require github.com/hashicorp/consul/sdk v0.17.3
