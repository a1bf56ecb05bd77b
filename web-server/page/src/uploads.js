// @ts-check
// Uploads files by tus 1.0, in pieces; continues after a lost connection or a reload of the page.
import { ApiError, call, isPassing } from "./api.js";
import { renew } from "./session.js";
import { pause } from "./time.js";

const PIECE_BYTES = 4 * 1024 * 1024;
const MAX_PAUSE_MS = 30_000;
const MAX_FAILURES = 40;
const TUS = { "Tus-Resumable": "1.0.0" };
const TOO_MANY = 429;
/** Transient: 409 the offset has changed, 423 another call sends to this upload, 429 too many calls. */
const BUSY = [409, 423, TOO_MANY];
const KEPT = "uploads";

/**
 * Send a file and return the upload's id.
 * @param {File} file
 * @param {(sentBytes: number, isWaiting?: boolean) => void} onProgress
 * @param {{isCanceled: boolean}} state
 * @returns {Promise<string>}
 */
export async function upload(file, onProgress, state) {
  if (!file.size) throw new ApiError(400, { code: "source_empty" });
  await contentOf(file, 0, 1); // fails for a folder, which can be dropped like a file
  const onPause = () => onProgress(0, true);
  let { path, offset } = (await begun(file, onPause)) || (await repeated(() => create(file), { onPause }));
  onProgress(offset);
  while (offset < file.size && !state.isCanceled) {
    const onSent = (/** @type {number} */ bytes) => onProgress(Math.min(file.size, offset + bytes));
    offset = await repeated(() => sendPiece(file, path, offset, onSent), {
      onPause: () => onProgress(offset, true),
      afterPause: async () => (offset = await arrivedOf(path, offset)),
      passing: BUSY,
    });
    onProgress(offset);
    renew({ isNeeded: true });
  }
  if (state.isCanceled) await discard(file, path);
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Abort an upload and delete what the server has of it. @param {File} file
 * @param {string} [path] of the upload: the file may have been chosen again, and have another by now */
export async function discard(file, path = kept()[fingerprint(file)]) {
  if (kept()[fingerprint(file)] === path) forget(file);
  if (path) await call("DELETE", path, undefined, { headers: TUS }).catch(() => {});
}

/** @param {File} file @param {number} start @param {number} end */
async function contentOf(file, start, end) {
  try {
    return new Blob([await file.slice(start, end).arrayBuffer()]);
  } catch {
    throw new ApiError(400, { code: "file_unreadable" });
  }
}

/**
 * Retry with exponential backoff while there is no answer or a server error.
 * @template T
 * @param {() => Promise<T>} act
 * @param {{onPause?: () => void, afterPause?: () => Promise<any>, passing?: number[]}} [options]
 *   `passing`: further HTTP statuses that are transient
 * @returns {Promise<T>}
 */
export async function repeated(act, { onPause, afterPause, passing = [] } = {}) {
  for (let failures = 1; ; failures += 1) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof ApiError) || failures > MAX_FAILURES) throw error;
      if (!isPassing(error) && (!passing.includes(error.status) || isQuota(error))) throw error;
      if (onPause) onPause();
      await pause(Math.max(error.retryAfterS * 1000, Math.min(MAX_PAUSE_MS, 500 * 2 ** failures)));
      if (afterPause) await afterPause();
    }
  }
}

/** Return whether a limit of the account is reached: that ends with other tasks, or with the day.
 * @param {ApiError} error */
const isQuota = (error) => error.code.startsWith("quota_");

/** @param {File} file */
async function create(file) {
  const headers = { ...TUS, "Upload-Length": String(file.size), "Upload-Metadata": `filename ${base64(file.name)}` };
  const created = await call("POST", "/uploads", undefined, { headers });
  const path = new URL(created.headers.get("Location") || "", location.href).pathname;
  keep({ ...kept(), [fingerprint(file)]: path });
  return { path, offset: 0 };
}

/** Return the upload of this file that was begun earlier, possibly before a reload; null if there is none.
 * @param {File} file @param {() => void} onPause */
async function begun(file, onPause) {
  const path = kept()[fingerprint(file)];
  if (!path) return null;
  try {
    const { headers } = await repeated(() => call("HEAD", path, undefined, { headers: TUS }), { onPause, passing: [TOO_MANY] });
    const isSame = Number(headers.get("Upload-Length")) === file.size;
    return isSame ? { path, offset: Number(headers.get("Upload-Offset")) } : null;
  } catch (error) {
    // The upload of an error that passes is still there, however long it lasts.
    if (!(error instanceof ApiError) || isPassing(error) || error.status === TOO_MANY) throw error;
    forget(file);
    return null;
  }
}

/** Remove the stored path of a file's upload: a task uses it now, or it was aborted. @param {File} file */
export function forget(file) {
  const { [fingerprint(file)]: _, ...others } = kept();
  keep(others);
}

/** Return whether choosing a file again in this browser continues this upload. @param {string} id */
export const isContinuable = (id) => Object.values(kept()).some((path) => path.endsWith(id));

/** Return whether this is the upload of one of the files. @param {string} id @param {File[]} files */
export const isOfOne = (id, files) => files.some((file) => kept()[fingerprint(file)]?.endsWith(id));

/** Delete an upload whose file has not been chosen again. @param {string} path */
export async function discardOld(path) {
  keep(Object.fromEntries(Object.entries(kept()).filter(([, each]) => each !== path)));
  await call("DELETE", path, undefined, { headers: TUS });
}

/** @param {File} file */
const fingerprint = (file) => `${file.name} ${file.size} ${file.lastModified}`;

/** @returns {Record<string, string>} */
function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT) || "{}");
  } catch {
    return {};
  }
}

/** @param {Record<string, string>} paths */
function keep(paths) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(paths));
  } catch {
    // Without storage an upload cannot be continued after a reload.
  }
}

/** @param {File} file @param {string} path @param {number} offset
 * @param {(bytes: number) => void} onSent called with how much of the piece has been sent */
async function sendPiece(file, path, offset, onSent) {
  const piece = await contentOf(file, offset, offset + PIECE_BYTES);
  const headers = { ...TUS, "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" };
  const answer = await call("PATCH", path, piece, { headers, onSent });
  return Number(answer.headers.get("Upload-Offset"));
}

/** Return how many bytes the server has; the last known number if it gives a transient error.
 * @param {string} path @param {number} known */
async function arrivedOf(path, known) {
  try {
    return Number((await call("HEAD", path, undefined, { headers: TUS })).headers.get("Upload-Offset"));
  } catch (error) {
    if (error instanceof ApiError && (isPassing(error) || BUSY.includes(error.status))) return known;
    throw error;
  }
}

/** @param {string} text */
const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
