// SPDX-License-Identifier: Apache-2.0
/* The shim: gives SO_ORIGINAL_DST of a mesh's proxy the service's address back. An experiment; docs/mesh.md has it whole.
 *
 * A load balancer at connect() has replaced the service's address by a backend's, and has noted which under the socket's
 * cookie. A rule in the pod then redirects the connection to the proxy on loopback. There, on its way out of `lo`, the
 * SYN has the ports that the proxy will see (the redirection may have changed the source port), and still belongs to the
 * application's socket: `learn` looks the note up, and keeps the service's address under what the proxy will see. When the
 * proxy asks for the original destination, `answer` replaces the backend's address by it.
 *
 * Where anything is missing or doesn't fit, the kernel's own answer stays. No map of the load balancer is written.
 * No helper that is called here asks for the GPL; the kernel checks that against the licence below.
 *
 * `make shim` builds shim.bpf.o. cni_chain/mesh/shim/layout.py has the same structures for Python.
 */
#include <linux/bpf.h>

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

/* Of bpf-helpers(7). */
static void *(*const map_lookup)(const void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const map_update)(const void *map, const void *key, const void *value, __u64 flags)
	= (void *)BPF_FUNC_map_update_elem;
static long (*const map_delete)(const void *map, const void *key) = (void *)BPF_FUNC_map_delete_elem;
static long (*const load_bytes)(const struct __sk_buff *packet, __u32 offset, void *to, __u32 size, __u32 from)
	= (void *)BPF_FUNC_skb_load_bytes_relative;
static __u64 (*const socket_cookie)(const struct __sk_buff *packet) = (void *)BPF_FUNC_get_socket_cookie;
static __u64 (*const namespace_cookie)(const struct bpf_sockopt *call) = (void *)BPF_FUNC_get_netns_cookie;
static struct bpf_sock *(*const full_socket)(struct bpf_sock *socket) = (void *)BPF_FUNC_sk_fullsock;

/* An address of IPv6, or one of IPv4 as ::ffff:0:0/96. */
struct address {
	__be32 word[4];
};

/* A connection as the proxy's socket has it: the pod's namespace, and the other end. */
struct connection {
	__u64 namespace_cookie;
	struct address source;
	__be16 port;
	__u16 pad[3];
};

/* Where the application wanted to connect, and what the load balancer made of it. */
struct origin {
	struct address service, backend;
	__be16 service_port, backend_port;
};

struct pod {
	__u64 namespace_cookie, made_qdisc; /* set by the loader */
	__u64 learned, direct, unseen;
};

struct proxy {
	__u64 counts_only; /* set by the loader */
	__u64 asked, answered, counted, unknown, different;
};

/* Cilium's, bpf/lib/common.h and sock.h: what socket load balancing notes of a socket. */
struct reverse_key4 {
	__u64 cookie;
	__be32 address;
	__be16 port;
	__u16 pad;
};
struct reverse_key6 {
	__u64 cookie;
	struct address address;
	__be16 port;
	__u16 pad[3];
};
struct reverse4 {
	__be32 address;
	__be16 port;
	__u16 rev_nat_index;
};
struct reverse6 {
	struct address address;
	__be16 port;
	__u16 rev_nat_index;
};

/* The maps, which the loader makes or opens. */
extern const char cnichain_origin[], cnichain_pod[], cnichain_proxy[]; /* hash, array of one, array of one */
extern const char cilium_lb4_reverse_sk[], cilium_lb6_reverse_sk[];

#define COUNT(counter) __sync_fetch_and_add(&(counter), 1)

/* Return the one value of an array. */
INLINE void *only(const void *map)
{
	__u32 first = 0;

	return map_lookup(map, &first);
}

INLINE struct address of_ipv4(__be32 address)
{
	return (struct address){{0, 0, 0xffff0000, address}}; /* the object is little-endian */
}

INLINE int is_same(const struct address *one, const struct address *other)
{
	return one->word[0] == other->word[0] && one->word[1] == other->word[1] && one->word[2] == other->word[2] &&
	       one->word[3] == other->word[3];
}

/* --------------------------------------------------------------------------------------- egress of `lo` in the pod */

enum { CONTINUE = -1 /* TC_ACT_UNSPEC: the next filter decides */, TCP = 6, SYN = 0x02, SYN_ACK = 0x12 };

struct tcp {
	__be16 source, destination;
	__u8 between[9], flags;
};

/* What a program knows of a packet that opens a connection: both ends now, and where its socket connects to. */
struct opening {
	struct connection connection;
	struct origin origin; /* without the service */
};

INLINE int is_opening(const struct __sk_buff *packet, __u32 offset, struct tcp *header)
{
	return !load_bytes(packet, offset, header, sizeof *header, BPF_HDR_START_NET) &&
	       (header->flags & SYN_ACK) == SYN;
}

INLINE struct bpf_sock *socket_of(struct __sk_buff *packet, struct pod *pod)
{
	struct bpf_sock *socket = packet->sk;

	if (socket)
		socket = full_socket(socket);
	if (!socket)
		COUNT(pod->unseen);
	return socket;
}

/* Keep what was learned, or forget what an earlier connection with the same ports had left. */
INLINE void keep(struct pod *pod, struct opening *opening, const struct address *service, __be16 port)
{
	opening->connection.namespace_cookie = pod->namespace_cookie;
	if (!service) {
		map_delete(cnichain_origin, &opening->connection);
		COUNT(pod->direct);
		return;
	}
	opening->origin.service = *service;
	opening->origin.service_port = port;
	if (!map_update(cnichain_origin, &opening->connection, &opening->origin, BPF_ANY))
		COUNT(pod->learned);
}

SECTION("cnichain_learn4") int learn4(struct __sk_buff *packet)
{
	struct {
		__u8 version_length, between[8], protocol;
		__be16 checksum;
		__be32 source, destination;
	} header;
	struct opening opening = {};
	struct pod *pod = only(cnichain_pod);
	struct reverse_key4 key = {};
	struct reverse4 *noted;
	struct bpf_sock *socket;
	struct tcp tcp;

	if (!pod || load_bytes(packet, 0, &header, sizeof header, BPF_HDR_START_NET) || header.protocol != TCP ||
	    !is_opening(packet, (header.version_length & 0xf) * 4, &tcp))
		return CONTINUE;
	socket = socket_of(packet, pod);
	if (!socket)
		return CONTINUE;
	key.address = socket->dst_ip4;
	key.port = socket->dst_port;
	if (key.address == header.destination && key.port == tcp.destination)
		return CONTINUE; /* it is not redirected */
	key.cookie = socket_cookie(packet);
	opening.connection.source = of_ipv4(header.source);
	opening.connection.port = tcp.source;
	opening.origin.backend = of_ipv4(key.address);
	opening.origin.backend_port = key.port;
	noted = map_lookup(cilium_lb4_reverse_sk, &key);
	if (noted) {
		struct address service = of_ipv4(noted->address);

		keep(pod, &opening, &service, noted->port);
	} else {
		keep(pod, &opening, 0, 0);
	}
	return CONTINUE;
}

SECTION("cnichain_learn6") int learn6(struct __sk_buff *packet)
{
	struct {
		__be32 version_class_flow;
		__be16 length;
		__u8 next, hops;
		struct address source, destination;
	} header;
	struct opening opening = {};
	struct pod *pod = only(cnichain_pod);
	struct reverse_key6 key = {};
	struct reverse6 *noted;
	struct bpf_sock *socket;
	struct tcp tcp;

	/* The kernel puts no extension header before TCP unless the application asked for one. */
	if (!pod || load_bytes(packet, 0, &header, sizeof header, BPF_HDR_START_NET) || header.next != TCP ||
	    !is_opening(packet, sizeof header, &tcp))
		return CONTINUE;
	socket = socket_of(packet, pod);
	if (!socket)
		return CONTINUE;
	key.address.word[0] = socket->dst_ip6[0];
	key.address.word[1] = socket->dst_ip6[1];
	key.address.word[2] = socket->dst_ip6[2];
	key.address.word[3] = socket->dst_ip6[3];
	key.port = socket->dst_port;
	if (is_same(&key.address, &header.destination) && key.port == tcp.destination)
		return CONTINUE; /* it is not redirected */
	key.cookie = socket_cookie(packet);
	opening.connection.source = header.source;
	opening.connection.port = tcp.source;
	opening.origin.backend = key.address;
	opening.origin.backend_port = key.port;
	noted = map_lookup(cilium_lb6_reverse_sk, &key);
	keep(pod, &opening, noted ? &noted->address : 0, noted ? noted->port : 0);
	return CONTINUE;
}

/* ------------------------------------------------------------------------------------------ getsockopt of the proxy */

enum { ACCEPT = 1, OF_IPV4 = 0, OF_IPV6 = 41, ORIGINAL_DST = 80, PAGE = 4096 };

/* struct sockaddr_in and sockaddr_in6 */
struct answer4 {
	__u16 family;
	__be16 port;
	__be32 address;
	__u8 zero[8];
};
struct answer6 {
	__u16 family;
	__be16 port;
	__be32 flow;
	struct address address;
	__u32 scope;
};

/* Return where the connection's application wanted to go, if what the kernel answers is what the load balancer made of it,
 * and if this is more than counting. */
INLINE const struct origin *found(const struct bpf_sockopt *call, struct connection *connection,
				  const struct address *answered, __be16 port)
{
	struct proxy *proxy = only(cnichain_proxy);
	const struct origin *origin;

	if (!proxy)
		return 0;
	COUNT(proxy->asked);
	connection->namespace_cookie = namespace_cookie(call);
	connection->port = call->sk->dst_port;
	origin = map_lookup(cnichain_origin, connection);
	if (!origin) {
		COUNT(proxy->unknown);
		return 0;
	}
	if (origin->backend_port != port || !is_same(&origin->backend, answered)) {
		COUNT(proxy->different);
		return 0;
	}
	if (proxy->counts_only) {
		COUNT(proxy->counted);
		return 0;
	}
	COUNT(proxy->answered);
	return origin;
}

INLINE void answer4(struct bpf_sockopt *call)
{
	struct answer4 *answer = call->optval;
	struct connection connection = {};
	const struct origin *origin;
	struct address answered;

	if ((void *)(answer + 1) > call->optval_end)
		return;
	answered = of_ipv4(answer->address);
	connection.source = of_ipv4(call->sk->dst_ip4); /* a socket of IPv6 has the address of a mapped peer there, too */
	origin = found(call, &connection, &answered, answer->port);
	if (origin) {
		answer->address = origin->service.word[3];
		answer->port = origin->service_port;
	}
}

INLINE void answer6(struct bpf_sockopt *call)
{
	struct answer6 *answer = call->optval;
	struct connection connection = {};
	const struct origin *origin;
	struct address answered;

	if ((void *)(answer + 1) > call->optval_end)
		return;
	answered = answer->address;
	connection.source.word[0] = call->sk->dst_ip6[0];
	connection.source.word[1] = call->sk->dst_ip6[1];
	connection.source.word[2] = call->sk->dst_ip6[2];
	connection.source.word[3] = call->sk->dst_ip6[3];
	origin = found(call, &connection, &answered, answer->port);
	if (origin) {
		answer->address = origin->service;
		answer->port = origin->service_port;
	}
}

SECTION("cnichain_answer") int answer(struct bpf_sockopt *call)
{
	if (call->optname != ORIGINAL_DST || (call->level != OF_IPV4 && call->level != OF_IPV6)) {
		/* Kernels before 6.4 fail a call whose answer is longer than a page, unless the program gives it up. */
		if (call->optlen > PAGE)
			call->optlen = 0;
		return ACCEPT;
	}
	if (call->retval)
		return ACCEPT;
	if (call->level == OF_IPV4)
		answer4(call);
	else
		answer6(call);
	return ACCEPT;
}

const char licence[] SECTION("license") = "Apache-2.0";

/* The checksum of this file, which a test compares. */
const char written_from[] SECTION("sha256") = SHA256;
