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
/** How often a task that is being aborted is asked for its end. */
const ENDING_MS = 1000;
/** DELETE of an upload: it is not there, a task uses it, it has expired. */
const GONE = [404, 409, 410];
const KEPT = "uploads";

/**
 * Send a file and return the upload's id.
 * @param {File} file
 * @param {(sentBytes: number, isWaiting?: boolean) => void} onProgress
 * @param {AbortSignal} signal cancels the upload: it ends at once, and what the server has of it is deleted
 * @returns {Promise<string>}
 */
export async function upload(file, onProgress, signal) {
  if (!file.size) throw new ApiError(400, { code: "source_empty" });
  await contentOf(file, 0, 1); // fails for a folder, which can be dropped like a file
  const onPause = () => onProgress(0, true);
  let path = kept()[fingerprint(file)] || "";
  try {
    const known = (await begun(file, onPause, signal)) || (await repeated(() => create(file), { onPause, signal }));
    path = known.path;
    await sendRest(file, known, onProgress, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  if (signal.aborted && path) discard(file, path); // not awaited: another file may wait for this one
  return path.slice(path.lastIndexOf("/") + 1);
}

/** @param {File} file @param {{path: string, offset: number}} known
 * @param {(sentBytes: number, isWaiting?: boolean) => void} onProgress @param {AbortSignal} signal */
async function sendRest(file, { path, offset }, onProgress, signal) {
  onProgress(offset);
  while (offset < file.size && !signal.aborted) {
    const onSent = (/** @type {number} */ bytes) => onProgress(Math.min(file.size, offset + bytes));
    offset = await repeated(() => sendPiece(file, path, offset, { onSent, signal }), {
      onPause: () => onProgress(offset, true),
      afterPause: async () => (offset = await arrivedOf(path, offset)),
      passing: BUSY,
      signal,
    });
    onProgress(offset);
    renew({ isNeeded: true });
  }
}

/** Abort an upload and delete what the server has of it. Return whether a task uses it already.
 * @param {File} file
 * @param {string} [path] of the upload: the file may have been chosen again, and have another by now */
export async function discard(file, path = kept()[fingerprint(file)]) {
  if (kept()[fingerprint(file)] === path) forget(file);
  if (!path) return false;
  try {
    await repeated(() => call("DELETE", path, undefined, { headers: TUS }), { passing: [TOO_MANY] });
    return false;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return error.code === "upload_used";
  }
}

/** Delete what a canceled upload has become: still an upload, or a task by a call that was under way.
 * @param {File} file @param {string} id @param {() => Promise<{data: any}>} make that call: it has an
 *   Idempotency-Key, so that it names the task when it is repeated */
export async function undo(file, id, make) {
  if (!(await discard(file, `/uploads/${id}`))) return;
  try {
    const { data } = await repeated(make, { passing: [TOO_MANY] });
    await deleteTask(data.link);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error; // of the others the user sees the task in the list
  }
}

/** Abort a task and delete it once it has ended. @param {string} link */
async function deleteTask(link) {
  const act = () => call("DELETE", link);
  while ((await repeated(act, { passing: [TOO_MANY] })).data?.status !== "deleted") await pause(ENDING_MS);
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
 * Retry with exponential backoff while there is no answer, a server error, or too many calls.
 * @template T
 * @param {() => Promise<T>} act
 * @param {{onPause?: () => void, afterPause?: () => Promise<any>, passing?: number[],
 *   signal?: AbortSignal}} [options] `passing`: further HTTP statuses that are transient; `signal`: ends the retries
 * @returns {Promise<T>}
 */
export async function repeated(act, { onPause, afterPause, passing = [], signal } = {}) {
  for (let failures = 1; ; failures += 1) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof ApiError) || failures > MAX_FAILURES || signal?.aborted) throw error;
      if (!isPassing(error) && !isCrowd(error) && (!passing.includes(error.status) || isQuota(error))) throw error;
      if (onPause) onPause();
      await pause(Math.max(error.retryAfterS * 1000, Math.min(MAX_PAUSE_MS, 500 * 2 ** failures)), signal);
      if (signal?.aborted) throw error;
      if (afterPause) await afterPause();
    }
  }
}

/** Return whether a limit of the account is reached: that ends with other tasks, or with the day.
 * @param {ApiError} error */
const isQuota = (error) => error.code.startsWith("quota_");

/** Return whether there are too many calls just now. A limit without a time to wait for is one of the account.
 * @param {ApiError} error */
const isCrowd = (error) => error.status === TOO_MANY && error.retryAfterS > 0 && !isQuota(error);

/** @param {File} file */
async function create(file) {
  const headers = { ...TUS, "Upload-Length": String(file.size), "Upload-Metadata": `filename ${base64(file.name)}` };
  const created = await call("POST", "/uploads", undefined, { headers });
  const path = new URL(created.headers.get("Location") || "", location.href).pathname;
  keep({ ...kept(), [fingerprint(file)]: path });
  return { path, offset: 0 };
}

/** Return the upload of this file that was begun earlier, possibly before a reload; null if there is none.
 * @param {File} file @param {() => void} onPause @param {AbortSignal} signal */
async function begun(file, onPause, signal) {
  const path = kept()[fingerprint(file)];
  if (!path) return null;
  try {
    const { headers } = await repeated(() => call("HEAD", path, undefined, { headers: TUS }), { onPause, passing: [TOO_MANY], signal });
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
  try {
    await call("DELETE", path, undefined, { headers: TUS });
  } catch (error) {
    if (!(error instanceof ApiError) || !GONE.includes(error.status)) throw error;
  }
  keep(Object.fromEntries(Object.entries(kept()).filter(([, each]) => each !== path)));
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
 * @param {{onSent: (bytes: number) => void, signal: AbortSignal}} options `onSent`: called with how much of the
 *   piece has been sent */
async function sendPiece(file, path, offset, options) {
  const piece = await contentOf(file, offset, offset + PIECE_BYTES);
  const headers = { ...TUS, "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" };
  const answer = await call("PATCH", path, piece, { headers, ...options });
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
