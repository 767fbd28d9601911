// Uploads files with Uppy and its tus plugin. Its one argument is JSON: the files, and options of the plugin.
// Says in one line of JSON what became of them.

import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import Uppy from "@uppy/core";
import Tus from "@uppy/tus";

const { files, options } = JSON.parse(process.argv[2]);

const uppy = new Uppy().use(Tus, options);
for (const file of files) {
  const content = await readFile(file); // in Node.js the client takes no Blob
  const data = Object.assign(content, { size: content.length });
  uppy.addFile({ name: basename(file), type: "text/plain", data });
}
const { successful, failed } = await uppy.upload();
console.log(
  JSON.stringify({
    event: "done",
    successful: successful.map((file) => ({ name: file.name, url: file.uploadURL })),
    failed: failed.map((file) => ({ name: file.name, error: file.error })),
  }),
);
process.exit(failed.length);
