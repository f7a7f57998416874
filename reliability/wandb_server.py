"""A W&B server on this machine that understands just enough for runs to be sent to it, and can fail in several ways."""

from __future__ import annotations

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Mood = Literal["well", "mute", "refusing"]
KEY = "0123456789abcdef" * 2 + "01234567"
"""Has the form of a key and belongs to nobody."""


class WandbServer:
    """Takes runs on a port of 127.0.0.1; in a ``with`` block it listens until the end.

    Attributes:
        mood: ``well``; ``mute``: accepts connections and never answers; ``refusing``: answers that the key is wrong.
        history: the rows that it got, by run and line.
        about: what else it knows of each run: ``config`` and ``summaryMetrics`` as JSON, ``displayName``, ``state``.
    """

    def __init__(self, mood: Mood = "well") -> None:
        self.mood: Mood = mood
        self.history: dict[str, dict[int, dict[str, Any]]] = {}
        self.about: dict[str, dict[str, Any]] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True

    @property
    def environment(self) -> dict[str, str]:
        """What makes W&B send runs here."""
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{self._http.server_port}", "WANDB_API_KEY": KEY}

    def rows(self, run: str) -> list[dict[str, Any]]:
        """The rows of a run in order."""
        lines = self.history.get(run, {})
        return [lines[number] for number in sorted(lines)]

    def answer(self, path: str, body: bytes) -> Any:
        """What the server says to a request."""
        if "file_stream" in path:
            return self._store(path.split("/")[-2], json.loads(body))
        if not path.endswith("/graphql"):
            return {}
        query = json.loads(body)
        return {"data": self._graph(query["query"], query.get("variables") or {})}

    def _store(self, run: str, content: dict[str, Any]) -> dict[str, Any]:
        files = content.get("files") or {}
        about = self.about.setdefault(run, {})
        history = files.get("wandb-history.jsonl") or {"offset": 0, "content": []}
        lines = self.history.setdefault(run, {})
        for number, line in enumerate(history["content"], history["offset"]):
            lines[number] = json.loads(line)
        if summary := (files.get("wandb-summary.json") or {}).get("content"):
            about["summaryMetrics"] = summary[-1]
        if content.get("complete"):
            about["state"] = "failed" if content.get("exitcode") else "finished"
        return {}

    def _graph(self, query: str, values: dict[str, Any]) -> dict[str, Any]:
        operation, name = re.search(r"(?:query|mutation)\s+(\w+)", query)[1], values.get("name")
        project = {"id": "1", "name": values.get("project"), "entity": {"id": "1", "name": "nobody"}}
        if operation == "UpsertBucket":
            sent = {key: values[key] for key in ("config", "displayName", "summaryMetrics") if values.get(key)}
            self.about.setdefault(name, {}).update(sent | {"state": "running"})
            return {"upsertBucket": {"bucket": self._bucket(name, project), "inserted": True}}
        if operation == "RunResumeStatus":
            return {"model": {**project, "bucket": self._bucket(name, project) if name in self.history else None}}
        if operation == "CreateRunFiles":
            address = f"{self.environment['WANDB_BASE_URL']}/upload"
            files = [{"name": name, "uploadUrl": address} for name in values["files"]]
            return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        if operation == "Runs":
            edges = [{"node": self._bucket(run, project), "cursor": run} for run in self.about]
            pages = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
            return {"project": {"internalId": "1", "runCount": len(edges), "readOnly": False, "runs": pages}}
        if operation in ("RunHistoryKeys", "RunParquetHistory", "HistoryPage"):
            return {"project": {"run": self._history(values, name or values.get("run") or values["runName"])}}
        if operation in ("Viewer", "GetDefaultEntity"):
            viewer = {"id": "1", "entity": "nobody", "username": "nobody", "flags": "{}", "teams": {"edges": []}}
            return {"viewer": viewer}
        return {"serverInfo": {"features": [], "cliVersionInfo": {}, "latestLocalVersionInfo": None}}

    def _history(self, values: dict[str, Any], run: str) -> dict[str, Any]:
        """The rows from one step to another, as text; no file of them has been made ready."""
        rows = self.rows(run)
        first, end = values.get("minStep", 0), values.get("maxStep", 2**53)
        keys = {"lastStep": rows[-1]["_step"] if rows else -1, "sets": [], "keys": {}}
        shown = [json.dumps(row) for row in rows if first <= row["_step"] < end]
        return {"historyKeys": keys, "parquetHistory": {"parquetUrls": [], "liveData": rows}, "history": shown}

    def _bucket(self, name: str, project: dict[str, Any]) -> dict[str, Any]:
        lines = self.rows(name)
        tail = json.dumps([json.dumps(lines[-1])] if lines else [])
        counts = {"historyLineCount": len(lines), "eventsLineCount": 0, "logLineCount": 0}
        texts = {"config": "{}", "summaryMetrics": "{}", "wandbConfig": '{"t": 1}', "eventsTail": "[]"}
        own = {"id": name, "name": name, "displayName": name, "description": "", "tags": [], "notes": ""}
        more = {"historyTail": tail, "sweepName": None, "project": project, "projectId": "1"}
        return {**own, **counts, **texts, **more, **self.about.get(name, {})}

    def __enter__(self) -> WandbServer:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening: from now on the server cannot be reached."""
        self._http.shutdown()
        self._http.server_close()


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            while server.mood == "mute":
                time.sleep(0.1)
            refused = server.mood == "refusing"
            answer = {"errors": [{"message": "the key is not valid"}]} if refused else server.answer(self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(401 if refused else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_PUT = do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Nothing: this server is not for people."""

    return Handler
