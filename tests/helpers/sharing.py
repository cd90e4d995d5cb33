"""Which tests run in one process: those of a file, and those of files that share a started app."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

APPS = {  # file or folder -> the fixture whose app it asks
    "tests/browser": "url",
    "tests/security/test_edge_connections.py": "served",
    "tests/security/test_edge_hosts.py": "served",
    "tests/security/test_edge_routes.py": "served",
    "tests/security/test_soak.py": "served",
    "tests/security/test_two_ways.py": "served",
    "tests/security/test_edge_load.py": "busy",
    "tests/security/test_page.py": "busy",
}


class ByApp(LoadFileScheduling):
    """As `--dist loadfile`, but an app is started in one of the processes only."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return APPS.get(file) or APPS.get(file.rpartition("/")[0], file)
