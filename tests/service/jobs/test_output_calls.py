"""Files and reports that jobs have made are fetched with the key; a browser opens a report with a ticket."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import write_photo
from handful.service.http.tickets import SECONDS, Tickets
from handful.service.jobs.job import JobOptions
from handful.service.jobs.output_routes import ExportRequest, export_options
from handful.service.jobs.table import EXPORTED, JobTable
from handful.service.models.catalogue import Catalogue
from handful.service.models.changes import ModelChanges
from running_server import LOCAL, Server, running, until

import handful

KEY, ASKING = "a-key-for-everything", "a-key-for-asking-only"
REPORT = "/models/colours/versions/1/report"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Server]:
    own = tmp_path_factory.mktemp("outputs") / "home"
    shutil.copytree(artifact, own / "models/colours/1")
    with running(own, api_key=KEY, predict_key=ASKING, poll_seconds="0.1") as server:
        yield server
        assert "Traceback" not in server.output()


def anonymous(server: Server, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", **LOCAL)


def test_a_model_is_exported_once_and_the_file_answers_as_the_model(guarded: Server, tmp_path: Path) -> None:
    call, asking = guarded.client, {"Authorization": f"Bearer {ASKING}"}
    begun = call.post("/models/colours/export")
    assert begun.status_code == 202, begun.text
    job = begun.json()["job"]
    assert call.post("/models/colours/export", json={"precision": "fp32"}).json()["job"] == job
    assert call.get(f"/jobs/{job}/report").json()["error"]["code"] == "not_kept"
    until(lambda: bool(call.get(f"/jobs/{job}").json()["finished_at"]))
    done = call.get(f"/jobs/{job}").json()
    assert (done["kind"], done["state"], done["error"]) == ("export", "done", None)
    assert (done["result"]["out"], done["result"]["model"]) == (EXPORTED, "colours:1")
    again = call.post("/models/colours/export")
    assert (again.status_code, again.json()["job"]) == (200, job)
    assert call.get(f"/jobs/{job}/file", headers=asking).status_code == 403
    assert call.post("/models/colours/export", headers=asking).status_code == 403

    sent = call.get(f"/jobs/{job}/file")
    assert 'filename="colours-1.onnx"' in sent.headers["content-disposition"]
    file = tmp_path / "colours.onnx"
    file.write_bytes(sent.content)
    photo = write_photo(tmp_path / "red.png", (200, 50, 40), 71)
    answered = call.post("/predict", files={"image": photo.read_bytes()}).json()
    answer = handful.load(file)(photo)
    assert answer.label == answered["label"] == "red"
    assert answer.confidence == pytest.approx(answered["confidence"], abs=0.02)  # bfloat16 in the service


def test_what_cannot_be_exported_is_said(guarded: Server) -> None:
    def code(path: str, body: object) -> tuple[int, str]:
        answer = guarded.client.post(path, json=body)
        return answer.status_code, answer.json()["error"]["code"]

    assert code("/models/colours/export", {"precision": "int4"}) == (400, "json_broken")
    assert code("/models/colours/export", {"version": "9"}) == (404, "model_unknown")
    assert code("/models/nothing/export", {}) == (404, "model_unknown")


def test_an_export_whose_file_is_gone_is_not_taken_for_one(tmp_path: Path) -> None:
    table, options = JobTable(tmp_path, kept=3), JobOptions(source="version", version="1")
    upload = table.upload()
    job = table.add(upload, "colours", "never", 0, 9, "export", options)
    table.discard(upload)
    assert table.export_of("colours", options) == job
    assert table.export_of("colours", JobOptions(source="version", version="2")) is None
    assert table.claim("colours", take=True)
    (table.job_folder(job.job) / EXPORTED).write_bytes(b"onnx")
    table.end(job, "done", None, {})
    assert table.export_of("colours", options)
    (table.job_folder(job.job) / EXPORTED).unlink()
    assert table.export_of("colours", options) is None


def test_a_model_that_took_the_name_of_another_is_exported_anew(own_home: Path) -> None:
    for name in ("bags", "cups"):
        folder = own_home / "models" / name
        (folder / "1").mkdir(parents=True)
        (folder / "1/card.json").write_text(json.dumps({"name": name, "version": "1"}))
        (folder / "champion").write_text("1\n")
    table, asked = JobTable(own_home / "jobs", kept=3), ExportRequest(version=None, precision="fp32")
    options = export_options(Catalogue(), "bags", asked)
    upload = table.upload()
    job = table.add(upload, "bags", "never", 0, 9, "export", options)
    table.discard(upload)
    assert table.export_of("bags", export_options(Catalogue(), "bags", asked)) == job
    changes = ModelChanges(Catalogue())
    changes.rename("bags", "mugs")
    changes.rename("cups", "bags")
    swapped = export_options(Catalogue(), "bags", asked)
    assert swapped.version == options.version
    assert table.export_of("bags", swapped) is None


def test_a_ticket_opens_one_report_and_nothing_else(guarded: Server) -> None:
    assert anonymous(guarded, REPORT).status_code == 401
    given = guarded.client.post(f"{REPORT}/ticket")
    assert given.headers["cache-control"] == "no-store"
    ticket = given.json()["ticket"]
    opened = anonymous(guarded, f"{REPORT}?ticket={ticket}")
    assert opened.content == guarded.client.get(REPORT).content
    assert "sandbox" in opened.headers["content-security-policy"]
    for path in (
        "/models/colours/versions/2/report",
        "/models/colours/versions/1/findings",
        "/models",
        f"{REPORT}/ticket",
    ):
        assert anonymous(guarded, f"{path}?ticket={ticket}").status_code == 401, path
    assert anonymous(guarded, f"{REPORT}?ticket={ticket[:-1]}").status_code == 401
    refused = guarded.client.post(f"{REPORT}/ticket", headers={"Authorization": f"Bearer {ASKING}"})
    assert refused.json()["error"]["code"] == "may_not_change"
    assert guarded.client.post("/models/colours/versions/9/report/ticket").status_code == 404


@pytest.mark.parametrize(
    "query", ["", "ticket", "ticket=", "ticket=.", "ticket=99999999999.00", "ticket=%ff.00", "x=1"]
)
def test_what_is_no_ticket_opens_nothing(query: str) -> None:
    assert not Tickets(["key"]).is_valid(REPORT, query.encode())


def test_a_ticket_is_over_after_a_minute_and_belongs_to_one_key() -> None:
    tickets = Tickets(["key"])
    ticket = tickets.ticket(REPORT)
    assert tickets.is_valid(REPORT, f"ticket={ticket}".encode())
    assert not Tickets(["another"]).is_valid(REPORT, f"ticket={ticket}".encode())
    assert not Tickets([]).is_valid(REPORT, f"ticket={ticket}".encode())
    assert abs(int(ticket.partition(".")[0]) - time.time()) <= SECONDS + 1
    over = tickets._signed(REPORT, int(time.time()) - 1)
    assert not tickets.is_valid(REPORT, f"ticket={over}".encode())
