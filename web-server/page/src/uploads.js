// @ts-check
// Files to the system by tus 1.0: in pieces, continued where one was lost.
import { ApiError, call } from "./api.js";

const PIECE_BYTES = 4 * 1024 * 1024;
const MAX_PAUSE_MS = 30_000;
const MAX_FAILURES = 40;
const TUS = { "Tus-Resumable": "1.0.0" };

/**
 * Send a file and return the upload's id.
 * @param {File} file
 * @param {(sentBytes: number) => void} onProgress
 * @param {{isCanceled: boolean}} state
 * @returns {Promise<string>}
 */
export async function upload(file, onProgress, state) {
  const headers = { ...TUS, "Upload-Length": String(file.size), "Upload-Metadata": `filename ${base64(file.name)}` };
  const created = await call("POST", "/uploads", undefined, { headers });
  const path = new URL(created.headers.get("Location") || "", location.href).pathname;
  let offset = 0;
  let failures = 0;
  while (offset < file.size && !state.isCanceled) {
    try {
      const arrived = await sendPiece(file, path, offset);
      failures = 0;
      offset = arrived;
      onProgress(offset);
    } catch (error) {
      if (!(error instanceof ApiError) || !isPassing(error) || ++failures > MAX_FAILURES) throw error;
      await pause(Math.max(error.retryAfterS * 1000, Math.min(MAX_PAUSE_MS, 500 * 2 ** failures)));
      offset = await arrivedOf(path, offset);
    }
  }
  if (state.isCanceled) await call("DELETE", path, undefined, { headers: TUS }).catch(() => {});
  return path.slice(path.lastIndexOf("/") + 1);
}

/** @param {File} file @param {string} path @param {number} offset */
async function sendPiece(file, path, offset) {
  const piece = file.slice(offset, offset + PIECE_BYTES);
  const headers = { ...TUS, "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" };
  const answer = await call("PATCH", path, piece, { headers });
  return Number(answer.headers.get("Upload-Offset"));
}

/** Return how many bytes have arrived; the last known number while nothing answers.
 * @param {string} path @param {number} known */
async function arrivedOf(path, known) {
  try {
    return Number((await call("HEAD", path, undefined, { headers: TUS })).headers.get("Upload-Offset"));
  } catch (error) {
    if (error instanceof ApiError && isPassing(error)) return known;
    throw error;
  }
}

/** @param {ApiError} error */
const isPassing = (error) => [0, 409, 423, 429].includes(error.status) || error.status >= 500;

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @param {string} text */
const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
