// Uploads a file with Box's SDK for Node.js (box-node-sdk 10), reads it back and deletes it. Its argument is JSON: url,
// token, file, and how: chunked, simple or credentials. Says what happens in lines of JSON: done, missing.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { BoxCcgAuth, BoxClient, BoxDeveloperTokenAuth, CcgConfig } from "box-node-sdk";
import { BaseUrls } from "box-node-sdk/lib/networking/baseUrls";
import { NetworkSession } from "box-node-sdk/lib/networking/network";

const { url, token, file: path, how } = JSON.parse(process.argv[2]);

const say = (event, more = {}) => console.log(JSON.stringify({ event, ...more }));

const box = `${url}/box`;
const networkSession = new NetworkSession({
  baseUrls: new BaseUrls({ baseUrl: box, uploadUrl: box, oauth2Url: `${box}/oauth2` }),
});
const auth =
  how === "credentials"
    ? new BoxCcgAuth({ config: new CcgConfig({ clientId: "x", clientSecret: token, enterpriseId: "1" }) })
    : new BoxDeveloperTokenAuth({ token });
const client = new BoxClient({ auth, networkSession });
const { size } = await stat(path);
const name = basename(path);

let file;
if (how === "simple") {
  await client.uploads.preflightFileUploadCheck({ name, size, parent: { id: "0" } });
  const attributes = { name, parent: { id: "0" } };
  file = (await client.uploads.uploadFile({ attributes, file: createReadStream(path) })).entries[0];
} else {
  file = await client.chunkedUploads.uploadBigFile(createReadStream(path), name, size, "0");
}
const hash = createHash("sha256");
for await (const piece of await client.downloads.downloadFile(file.id)) hash.update(piece);
const listed = (await client.folders.getFolderItems("0")).entries.map((entry) => entry.name);
const me = (await client.users.getUserMe()).name;
say("done", { id: file.id, sha1: file.sha1, sha256: hash.digest("hex"), listed, me });
await client.files.deleteFileById(file.id);
try {
  await client.files.getFileById(file.id);
} catch (error) {
  // The code comes as JSON, in quotes.
  say("missing", { status: error.responseInfo.statusCode, code: JSON.parse(error.responseInfo.code) });
}
process.exit(0);
