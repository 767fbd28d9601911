import assert from "node:assert/strict";
import { test } from "node:test";
import { OtherFile, Problem, Unreachable, Unreadable, adviceOn } from "../src/transfer/problems.ts";

const problem = (status: number, kind: string, detail = "What happened.") =>
  Problem.parse(status, JSON.stringify({ type: `/docs/errors#${kind}`, status, detail }), "3");

test("problem details are read, and a proxy's page of HTML does no harm", () => {
  const quota = problem(413, "quota-exceeded");
  assert.deepEqual([quota.status, quota.kind, quota.retryAfter, quota.message], [413, "quota-exceeded", 3, "What happened."]);
  const page = Problem.parse(502, "<html>Bad gateway</html>");
  assert.deepEqual([page.kind, page.passing, page.message], ["", true, "The server answered 502."]);
  assert.equal(Problem.parse(400, "[]").kind, "");
  assert.equal(Problem.parse(404, '{"type": "https://else.example/problems#not-found"}').gone, false);
  assert.equal(Problem.parse(404, '{"type": "/below/docs/errors#not-found"}').gone, true);
  assert.equal(Problem.parse(404, "<html>Not found</html>").gone, false);
});

test("each error says what helps, and whether to try again", () => {
  for (const kind of ["quota-exceeded", "too-many-uploads", "out-of-space", "storage-failed", "not-found"]) {
    const advice = adviceOn(problem(400, kind));
    assert.ok(advice.again && advice.help.length > 20 && advice.title !== "The server refused", kind);
  }
  assert.equal(adviceOn(problem(413, "upload-too-large")).again, false);
  assert.equal(adviceOn(problem(400, "something-new")).help, "What happened.");
  assert.match(adviceOn(new Unreadable()).help, /Choose it again/);
  assert.equal(adviceOn(new OtherFile("Another size.")).help, "Another size.");
  assert.ok(adviceOn(new Unreachable()).again);
  assert.equal(adviceOn("odd").help, "odd");
});
