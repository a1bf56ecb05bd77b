// Sends a file by tus-js-client; prints the upload's address.
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import * as tus from "tus-js-client";

const [baseUrl, path, chunkBytes, extra] = process.argv.slice(2);
const upload = new tus.Upload(createReadStream(path), {
  endpoint: `${baseUrl}/uploads`,
  headers: { Authorization: `Bearer ${process.env.TOKEN}` },
  metadata: { filename: basename(path) },
  chunkSize: Number(chunkBytes),
  uploadDataDuringCreation: extra === "yes",
  overridePatchMethod: extra === "override",
  retryDelays: Array(250).fill(300),
  onError(error) {
    console.error(error);
    process.exit(1);
  },
  onSuccess: () => console.log(upload.url),
});
upload.start();
