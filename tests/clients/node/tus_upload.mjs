// Uploads one file with tus-js-client. Its one argument is JSON: the file, and options as the client has them.
// Says what happens in lines of JSON: created, sent (an accepted PATCH), paused, done, failed. While it is paused it
// waits for a line on standard input.

import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createInterface } from "node:readline";
import * as tus from "tus-js-client";

const { file, stream, pauseAt, store, resume, abort, ...options } = JSON.parse(process.argv[2]);

const say = (event, more = {}) => console.log(JSON.stringify({ event, ...more }));

const nextLine = () => new Promise((resolve) => createInterface({ input: process.stdin }).once("line", resolve));

let accepted = 0;
let pause; // of all requests at once

const upload = new tus.Upload(stream ? createReadStream(file) : await readFile(file), {
  ...options,
  chunkSize: options.chunkSize ?? Number.POSITIVE_INFINITY,
  uploadSize: stream && !options.uploadLengthDeferred ? (await stat(file)).size : null,
  // A file in memory has no name that the client could recognise it by.
  fingerprint: async () => file,
  urlStorage: store ? new tus.FileUrlStorage(store) : undefined,
  storeFingerprintForResuming: store !== undefined,
  async onBeforeRequest(request) {
    if (pauseAt !== undefined && accepted >= pauseAt && request.getMethod() === "PATCH") {
      if (pause === undefined) {
        say("paused", { accepted });
        pause = nextLine();
      }
      await pause;
    }
  },
  onAfterResponse(request, response) {
    const offset = Number(request.getHeader("Upload-Offset"));
    // The drafts of the IETF answer an append with 201, and HEAD with 204.
    const appended = request.getMethod() !== "HEAD" && [201, 204].includes(response.getStatus()) && offset >= 0;
    if (appended && response.getHeader("Upload-Offset") !== undefined) {
      const size = Number(response.getHeader("Upload-Offset")) - offset;
      accepted += size;
      say("sent", { offset, size, method: request.getMethod() });
    }
  },
  async onProgress() {
    if (abort === undefined || accepted < abort) return;
    await upload.abort(true); // which does not wait for the parts: the process ends after them
    say("aborted");
  },
  onUploadUrlAvailable: () => say("created", { url: upload.url }),
  onError(error) {
    say("failed", { message: error.message });
    process.exit(1);
  },
  onSuccess() {
    say("done", { url: upload.url });
    process.exit(0);
  },
});

if (resume) {
  const [previous] = await upload.findPreviousUploads();
  say("found", { url: previous.uploadUrl, parts: previous.parallelUploadUrls });
  upload.resumeFromPreviousUpload(previous);
}
upload.start();
