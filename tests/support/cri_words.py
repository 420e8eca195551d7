"""The messages of Kubernetes' container runtime interface (CRI, package runtime.v1) that the tests send and read, as the
tables of support/grpc.py: the numbers are the interface's, what no test asks for is left out.
"""

from __future__ import annotations

from support.grpc import TEXTS, Message

POD, CONTAINER, NODE, TARGET = range(4)  # whose namespace
RUNTIME_DEFAULT, UNCONFINED, LOCALHOST = range(3)  # kinds of seccomp profile
PRIVATE, HOST_TO_CONTAINER, BIDIRECTIONAL = range(3)  # propagation of a mount
READY, NOT_READY = range(2)
CREATED, RUNNING, EXITED, UNKNOWN = range(4)

NUMBER: Message = {"value": (1, int)}
IDS: Message = {"host_id": (1, int), "container_id": (2, int), "length": (3, int)}
USERS: Message = {"mode": (1, int), "uids": (2, [IDS]), "gids": (3, [IDS])}
NAMESPACES: Message = {
    "network": (1, int),
    "pid": (2, int),
    "ipc": (3, int),
    "target_id": (4, str),
    "userns_options": (5, USERS),
}
PROFILE: Message = {"profile_type": (1, int), "localhost_ref": (2, str)}
RESOURCES: Message = {
    "cpu_period": (1, int),
    "cpu_quota": (2, int),
    "cpu_shares": (3, int),
    "memory_limit_in_bytes": (4, int),
    "oom_score_adj": (5, int),
    "cpuset_cpus": (6, str),
    "unified": (9, TEXTS),
    "memory_swap_limit_in_bytes": (10, int),
}
MOUNT: Message = {"container_path": (1, str), "host_path": (2, str), "readonly": (3, bool), "propagation": (5, int)}
IMAGE: Message = {"image": (1, str)}

# --- pods ------------------------------------------------------------------------------------------------------------

POD_SECURITY: Message = {
    "namespace_options": (1, NAMESPACES),
    "run_as_user": (3, NUMBER),
    "readonly_rootfs": (4, bool),
    "privileged": (6, bool),
    "seccomp": (9, PROFILE),
}
POD_LINUX: Message = {"cgroup_parent": (1, str), "security_context": (2, POD_SECURITY), "sysctls": (3, TEXTS)}
POD_NAME: Message = {"name": (1, str), "uid": (2, str), "namespace": (3, str), "attempt": (4, int)}
DNS: Message = {"servers": (1, [str]), "searches": (2, [str]), "options": (3, [str])}
POD_CONFIG: Message = {
    "metadata": (1, POD_NAME),
    "hostname": (2, str),
    "log_directory": (3, str),
    "dns_config": (4, DNS),
    "labels": (6, TEXTS),
    "annotations": (7, TEXTS),
    "linux": (8, POD_LINUX),
}
POD_NETWORK: Message = {"ip": (1, str)}
POD_STATUS: Message = {
    "id": (1, str),
    "metadata": (2, POD_NAME),
    "state": (3, int),
    "created_at": (4, int),
    "network": (5, POD_NETWORK),
    "labels": (7, TEXTS),
    "annotations": (8, TEXTS),
    "runtime_handler": (9, str),
}
POD_ITEM: Message = {"id": (1, str), "metadata": (2, POD_NAME), "state": (3, int), "labels": (5, TEXTS)}
POD_ID: Message = {"pod_sandbox_id": (1, str)}
POD_FILTER: Message = {"id": (1, str), "label_selector": (3, TEXTS)}

# --- containers ------------------------------------------------------------------------------------------------------

CAPABILITIES: Message = {"add_capabilities": (1, [str]), "drop_capabilities": (2, [str])}
SECURITY: Message = {
    "capabilities": (1, CAPABILITIES),
    "privileged": (2, bool),
    "namespace_options": (3, NAMESPACES),
    "run_as_user": (5, NUMBER),
    "run_as_username": (6, str),
    "readonly_rootfs": (7, bool),
    "supplemental_groups": (8, [int]),
    "no_new_privs": (11, bool),
    "run_as_group": (12, NUMBER),
    "masked_paths": (13, [str]),
    "readonly_paths": (14, [str]),
    "seccomp": (15, PROFILE),
}
CONTAINER_LINUX: Message = {"resources": (1, RESOURCES), "security_context": (2, SECURITY)}
CONTAINER_NAME: Message = {"name": (1, str), "attempt": (2, int)}
PAIR: Message = {"key": (1, str), "value": (2, str)}
DEVICE: Message = {"container_path": (1, str), "host_path": (2, str), "permissions": (3, str)}
CONTAINER_CONFIG: Message = {
    "metadata": (1, CONTAINER_NAME),
    "image": (2, IMAGE),
    "command": (3, [str]),
    "args": (4, [str]),
    "working_dir": (5, str),
    "envs": (6, [PAIR]),
    "mounts": (7, [MOUNT]),
    "devices": (8, [DEVICE]),
    "labels": (9, TEXTS),
    "annotations": (10, TEXTS),
    "log_path": (11, str),
    "stdin": (12, bool),
    "tty": (14, bool),
    "linux": (15, CONTAINER_LINUX),
}
CONTAINER_STATUS: Message = {
    "id": (1, str),
    "metadata": (2, CONTAINER_NAME),
    "state": (3, int),
    "created_at": (4, int),
    "started_at": (5, int),
    "finished_at": (6, int),
    "exit_code": (7, int),
    "reason": (10, str),
    "message": (11, str),
    "labels": (12, TEXTS),
    "annotations": (13, TEXTS),
    "mounts": (14, [MOUNT]),
    "log_path": (15, str),
}
CONTAINER_ITEM: Message = {
    "id": (1, str),
    "pod_sandbox_id": (2, str),
    "metadata": (3, CONTAINER_NAME),
    "state": (6, int),
    "labels": (8, TEXTS),
}
CONTAINER_ID: Message = {"container_id": (1, str)}
CONTAINER_FILTER: Message = {"id": (1, str), "pod_sandbox_id": (3, str)}

# --- what they use ---------------------------------------------------------------------------------------------------

CPU: Message = {"timestamp": (1, int), "usage_core_nano_seconds": (2, NUMBER)}
MEMORY: Message = {
    "timestamp": (1, int),
    "working_set_bytes": (2, NUMBER),
    "usage_bytes": (4, NUMBER),
    "rss_bytes": (5, NUMBER),
}
DISK: Message = {"timestamp": (1, int), "used_bytes": (3, NUMBER), "inodes_used": (4, NUMBER)}
WHOSE: Message = {"id": (1, str), "metadata": (2, CONTAINER_NAME)}
STATS: Message = {"attributes": (1, WHOSE), "cpu": (2, CPU), "memory": (3, MEMORY), "writable_layer": (4, DISK)}
POD_COUNTED: Message = {"process_count": (2, NUMBER)}
POD_NETWORKED: Message = {"timestamp": (1, int)}
POD_LINUX_STATS: Message = {"cpu": (1, CPU), "memory": (2, MEMORY), "process": (4, POD_COUNTED), "containers": (5, [STATS])}
POD_STATS: Message = {"linux": (2, POD_LINUX_STATS)}

# --- the calls -------------------------------------------------------------------------------------------------------

CONDITION: Message = {"type": (1, str), "status": (2, bool), "reason": (3, str), "message": (4, str)}
VERSION: Message = {"version": (1, str), "runtime_name": (2, str), "runtime_version": (3, str), "runtime_api_version": (4, str)}
NOTHING: Message = {}
CALLS: dict[str, tuple[Message, Message]] = {
    "Version": ({"version": (1, str)}, VERSION),
    "Status": ({"verbose": (1, bool)}, {"status": (1, {"conditions": (1, [CONDITION])}), "info": (2, TEXTS)}),
    "RunPodSandbox": ({"config": (1, POD_CONFIG), "runtime_handler": (2, str)}, POD_ID),
    "StopPodSandbox": (POD_ID, NOTHING),
    "RemovePodSandbox": (POD_ID, NOTHING),
    "PodSandboxStatus": (POD_ID | {"verbose": (2, bool)}, {"status": (1, POD_STATUS), "info": (2, TEXTS)}),
    "ListPodSandbox": ({"filter": (1, POD_FILTER)}, {"items": (1, [POD_ITEM])}),
    "CreateContainer": (POD_ID | {"config": (2, CONTAINER_CONFIG), "sandbox_config": (3, POD_CONFIG)}, CONTAINER_ID),
    "StartContainer": (CONTAINER_ID, NOTHING),
    "StopContainer": (CONTAINER_ID | {"timeout": (2, int)}, NOTHING),
    "RemoveContainer": (CONTAINER_ID, NOTHING),
    "ListContainers": ({"filter": (1, CONTAINER_FILTER)}, {"containers": (1, [CONTAINER_ITEM])}),
    "ContainerStatus": (CONTAINER_ID | {"verbose": (2, bool)}, {"status": (1, CONTAINER_STATUS), "info": (2, TEXTS)}),
    "UpdateContainerResources": (CONTAINER_ID | {"linux": (2, RESOURCES)}, NOTHING),
    "ReopenContainerLog": (CONTAINER_ID, NOTHING),
    "ExecSync": (
        CONTAINER_ID | {"cmd": (2, [str]), "timeout": (3, int)},
        {"stdout": (1, bytes), "stderr": (2, bytes), "exit_code": (3, int)},
    ),
    "ContainerStats": (CONTAINER_ID, {"stats": (1, STATS)}),
    "ListContainerStats": ({"filter": (1, {"id": (1, str), "pod_sandbox_id": (2, str)})}, {"stats": (1, [STATS])}),
    "PodSandboxStats": (POD_ID, {"stats": (1, POD_STATS)}),
    "UpdateRuntimeConfig": ({"runtime_config": (1, {"network_config": (1, {"pod_cidr": (1, str)})})}, NOTHING),
    "ListImages": ({"filter": (1, {"image": (1, IMAGE)})}, {"images": (1, [{"id": (1, str), "repo_tags": (2, [str])}])}),
    "ImageStatus": ({"image": (1, IMAGE)}, {"image": (1, {"id": (1, str), "repo_tags": (2, [str]), "size": (4, int)})}),
}
IMAGE_CALLS = ("ListImages", "ImageStatus")
