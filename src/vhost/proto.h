/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user protocol as numbers and layouts, both directions, after its specification. Used by the back-end
 * (server.c) and by the front-end of the shm transport (frontend.c). Integers are in host byte order, as the protocol
 * runs between processes of one machine. Structures are packed where their natural layout would differ.
 *
 * Start reading here: msg.h moves one message, server.h is the back-end's state machine without I/O, memory.h the
 * guest's memory, vring.h a split virtqueue seen from the device, inflight.h the journal of taken descriptors.
 * Nothing in this folder knows an accelerator or an engine.
 */
#ifndef VACCEL_VHOST_PROTO_H
#define VACCEL_VHOST_PROTO_H

#include <stdint.h>

/* Front-end to back-end. */
enum vhost_request {
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES = 2,
	VHOST_SET_OWNER = 3,
	VHOST_RESET_OWNER = 4,
	VHOST_SET_MEM_TABLE = 5,
	VHOST_SET_LOG_BASE = 6,
	VHOST_SET_LOG_FD = 7,
	VHOST_SET_VRING_NUM = 8,
	VHOST_SET_VRING_ADDR = 9,
	VHOST_SET_VRING_BASE = 10,
	VHOST_GET_VRING_BASE = 11,
	VHOST_SET_VRING_KICK = 12,
	VHOST_SET_VRING_CALL = 13,
	VHOST_SET_VRING_ERR = 14,
	VHOST_GET_PROTOCOL_FEATURES = 15,
	VHOST_SET_PROTOCOL_FEATURES = 16,
	VHOST_GET_QUEUE_NUM = 17,
	VHOST_SET_VRING_ENABLE = 18,
	VHOST_SEND_RARP = 19,
	VHOST_NET_SET_MTU = 20,
	VHOST_SET_BACKEND_REQ_FD = 21,
	VHOST_IOTLB_MSG = 22,
	VHOST_SET_VRING_ENDIAN = 23,
	VHOST_GET_CONFIG = 24,
	VHOST_SET_CONFIG = 25,
	VHOST_CREATE_CRYPTO_SESSION = 26,
	VHOST_CLOSE_CRYPTO_SESSION = 27,
	VHOST_POSTCOPY_ADVISE = 28,
	VHOST_POSTCOPY_LISTEN = 29,
	VHOST_POSTCOPY_END = 30,
	VHOST_GET_INFLIGHT_FD = 31,
	VHOST_SET_INFLIGHT_FD = 32,
	VHOST_GPU_SET_SOCKET = 33,
	VHOST_RESET_DEVICE = 34,
	VHOST_VRING_KICK = 35,
	VHOST_GET_MAX_MEM_SLOTS = 36,
	VHOST_ADD_MEM_REG = 37,
	VHOST_REM_MEM_REG = 38,
	VHOST_SET_STATUS = 39,
	VHOST_GET_STATUS = 40,
	VHOST_GET_SHARED_OBJECT = 41,
	VHOST_SET_DEVICE_STATE_FD = 42,
	VHOST_CHECK_DEVICE_STATE = 43,
};

/* Back-end to front-end, on the socket that SET_BACKEND_REQ_FD brought. */
enum vhost_backend_request {
	VHOST_BACKEND_IOTLB_MSG = 1,
	VHOST_BACKEND_CONFIG_CHANGE_MSG = 2,
	VHOST_BACKEND_VRING_HOST_NOTIFIER_MSG = 3,
	VHOST_BACKEND_VRING_CALL = 4,
	VHOST_BACKEND_VRING_ERR = 5,
	VHOST_BACKEND_SHARED_OBJECT_ADD = 6,
	VHOST_BACKEND_SHARED_OBJECT_REMOVE = 7,
	VHOST_BACKEND_SHARED_OBJECT_LOOKUP = 8,
};

/* Bit numbers of GET_/SET_PROTOCOL_FEATURES. */
enum vhost_protocol_feature {
	VHOST_PF_MQ = 0,
	VHOST_PF_LOG_SHMFD = 1,
	VHOST_PF_RARP = 2,
	VHOST_PF_REPLY_ACK = 3,
	VHOST_PF_MTU = 4,
	VHOST_PF_BACKEND_REQ = 5,
	VHOST_PF_CROSS_ENDIAN = 6,
	VHOST_PF_CRYPTO_SESSION = 7,
	VHOST_PF_PAGEFAULT = 8,
	VHOST_PF_CONFIG = 9,
	VHOST_PF_BACKEND_SEND_FD = 10,
	VHOST_PF_HOST_NOTIFIER = 11,
	VHOST_PF_INFLIGHT_SHMFD = 12,
	VHOST_PF_RESET_DEVICE = 13,
	VHOST_PF_INBAND_NOTIFICATIONS = 14,
	VHOST_PF_CONFIGURE_MEM_SLOTS = 15,
	VHOST_PF_STATUS = 16,
	VHOST_PF_XEN_MMAP = 17,
	VHOST_PF_SHARED_OBJECT = 18,
	VHOST_PF_DEVICE_STATE = 19,
};

/* Bit numbers of GET_/SET_FEATURES that belong to the transport, not to the device. */
#define VHOST_F_LOG_ALL		  26
#define VHOST_F_INDIRECT_DESC	  28
#define VHOST_F_EVENT_IDX	  29
#define VHOST_F_PROTOCOL_FEATURES 30
#define VHOST_F_VERSION_1	  32
#define VHOST_F_ACCESS_PLATFORM	  33

#define VHOST_BIT(n) (UINT64_C(1) << (n))

/* struct vhost_header.flags */
#define VHOST_FLAG_VERSION_MASK 0x3u
#define VHOST_FLAG_VERSION	0x1u
#define VHOST_FLAG_REPLY	0x4u
#define VHOST_FLAG_NEED_REPLY	0x8u

/* The u64 of SET_VRING_KICK, _CALL and _ERR. */
#define VHOST_VRING_INDEX_MASK UINT64_C(0xff)
#define VHOST_VRING_NOFD       UINT64_C(0x100)

/* vhost_vring_addr.flags */
#define VHOST_VRING_F_LOG 1u

/* vhost_config.flags */
#define VHOST_CONFIG_WRITABLE 0u
#define VHOST_CONFIG_LIVE     1u

/* struct virtio status bits of SET_STATUS and GET_STATUS. */
#define VHOST_STATUS_ACKNOWLEDGE 0x01u
#define VHOST_STATUS_DRIVER	 0x02u
#define VHOST_STATUS_DRIVER_OK	 0x04u
#define VHOST_STATUS_FEATURES_OK 0x08u
#define VHOST_STATUS_NEEDS_RESET 0x40u
#define VHOST_STATUS_FAILED	 0x80u

#define VHOST_MAX_FDS	  8    /* of one message: one per region of SET_MEM_TABLE */
#define VHOST_MAX_TABLE	  8    /* regions of one SET_MEM_TABLE */
#define VHOST_MAX_CONFIG  4096 /* bytes of one GET_CONFIG */
#define VHOST_MAX_PAYLOAD (sizeof(struct vhost_config) + VHOST_MAX_CONFIG)

struct vhost_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload */
};

struct vhost_vring_state {
	uint32_t index;
	uint32_t num;
};

struct vhost_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc; /* addresses in the front-end's address space */
	uint64_t used;
	uint64_t avail;
	uint64_t log;
};

struct vhost_region {
	uint64_t guest_addr;
	uint64_t size;
	uint64_t user_addr; /* in the front-end's address space */
	uint64_t mmap_offset;
};

struct vhost_mem_table {
	uint32_t n_regions;
	uint32_t padding;
	struct vhost_region regions[VHOST_MAX_TABLE];
};

struct vhost_mem_reg {
	uint64_t padding;
	struct vhost_region region;
};

struct vhost_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[];
};

/* 20 bytes in the specification; front-ends that send their C structure send 24. Both are understood. */
struct vhost_inflight {
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t n_queues;
	uint16_t queue_size;
	uint32_t padding;
};
#define VHOST_INFLIGHT_MIN_SIZE 20

struct vhost_log {
	uint64_t mmap_size;
	uint64_t mmap_offset;
};

#endif
