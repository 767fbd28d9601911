// Uploads a file with Box's SDK for Node.js before it was generated (box-node-sdk 3), reads it back and deletes it. Its
// argument is JSON: url, token, file, and how: chunked or simple. Says what happens in lines of JSON: done, missing.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import http from "node:http";
import { basename } from "node:path";
import BoxSDK from "box-node-sdk-3";

const { url, token, file: path, how } = JSON.parse(process.argv[2]);

const say = (event, more = {}) => console.log(JSON.stringify({ event, ...more }));

const box = `${url}/box`;
const sdk = new BoxSDK({
  clientID: "x",
  clientSecret: "x",
  apiRootURL: box,
  uploadAPIRootURL: box,
  authorizeRootURL: box,
  request: { agentClass: http.Agent },
});
const client = sdk.getBasicClient(token);
const { size } = await stat(path);
const name = basename(path);

let made;
if (how === "simple") {
  await client.files.preflightUploadFile("0", { name, size });
  made = await client.files.uploadFile("0", name, createReadStream(path));
} else {
  const uploader = await client.files.getChunkedUploader("0", size, name, createReadStream(path));
  made = await uploader.start();
}
const [file] = made.entries;
const hash = createHash("sha256");
for await (const piece of await client.files.getReadStream(file.id)) hash.update(piece);
const listed = (await client.folders.getItems("0")).entries.map((entry) => entry.name);
const me = (await client.users.get("me")).name;
say("done", { id: file.id, sha1: file.sha1, sha256: hash.digest("hex"), listed, me });
await client.files.delete(file.id);
try {
  await client.files.get(file.id);
} catch (error) {
  say("missing", { status: error.statusCode, code: error.response.body.code });
}
process.exit(0);
