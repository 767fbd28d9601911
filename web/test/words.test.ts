import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, bytes, count, duration, nameParts, percent, shownName, until, uploadCommand } from "../src/ui/words.ts";

test("sizes in decimal units of three digits", () => {
  assert.deepEqual([0, 999, 1000, 15_360, 999_499, 999_500, 1e9, 53_687_091_200].map(bytes), [
    "0 B",
    "999 B",
    "1.00 KB",
    "15.4 KB",
    "999 KB",
    "1.00 MB",
    "1.00 GB",
    "53.7 GB",
  ]);
});

test("times in at most two units", () => {
  assert.deepEqual([0.2, 59, 61, 601, 3600, 90_000, 600_000].map(duration), [
    "1 s",
    "59 s",
    "1 min 1 s",
    "10 min",
    "1 h 0 min",
    "25 h 0 min",
    "7 days",
  ]);
});

test("all is only all at 100 percent", () => {
  assert.equal(percent(999_999, 1_000_000), 99);
  assert.equal(percent(1, 1), 100);
  assert.equal(percent(0, 0), 100);
});

test("what cannot be seen in a name, or turns it around, is made visible", () => {
  assert.equal(shownName("a\nb\tc"), "a␣b␣c");
  assert.equal(shownName("photo\u202egpj.exe"), "photo▯gpj.exe");
  assert.equal(shownName("\u2066x\u2069"), "▯x▯");
  assert.equal(shownName("<img src=x onerror=alert(1)>"), "<img src=x onerror=alert(1)>");
  assert.equal(shownName("שלום.iso"), "שלום.iso");
  assert.equal(shownName(""), "(no name)");
});

test("names and their folders, numbers and their nouns, moments", () => {
  assert.deepEqual(nameParts("a/b/c.iso"), { folder: "a/b/", base: "c.iso" });
  assert.deepEqual(nameParts("c.iso"), { folder: "", base: "c.iso" });
  assert.deepEqual([count(1, "file", "files"), count(1200, "file", "files")], ["1 file", "1,200 files"]);
  const now = Date.parse("2026-03-05T12:00:00");
  assert.equal(ago(now - 5000, now), "just now");
  assert.equal(ago(now - 600_000, now), "10 min ago");
  assert.match(ago(now - 7_200_000, now), /^today/);
  assert.match(ago(now - 86_400_000, now), /^yesterday/);
  assert.equal(until(now + 3 * 86_400_000, now), "in 3 days");
});

test("the command for an upload is safe in a shell", () => {
  const server = "https://files.example/partwise";
  assert.equal(uploadCommand(server), `partwise upload FILE -s ${server}`);
  assert.equal(uploadCommand(server, "a/b/disk.img", "123"), `partwise upload disk.img --upload 123 -s ${server}`);
  assert.equal(uploadCommand(server, "it's $(odd).img"), `partwise upload 'it'\\''s $(odd).img' -s ${server}`);
  assert.equal(uploadCommand(server, "-rf"), `partwise upload ./-rf -s ${server}`);
  assert.equal(uploadCommand(server, "two\nlines"), `partwise upload FILE -s ${server}`);
});
