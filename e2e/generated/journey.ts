// The main use of the API by the client that openapi-typescript generates, on the system at BASE_URL.
import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Task = components["schemas"]["TaskWithParts"];

const api = createClient<paths>({ baseUrl: process.env.BASE_URL });

async function logIn(): Promise<string> {
  const name = `ts-${randomUUID()}`;
  const account = { email: `${name}@example.com`, password: "Analytical1" };
  const signup = await api.POST("/auth/signup", {
    body: { ...account, username: name, password_2: account.password },
  });
  assert.equal(signup.data?.username, name);
  const login = await api.POST("/auth/login", { body: account });
  assert.ok(login.data);
  return login.data.token;
}

async function finished(taskId: string): Promise<Task> {
  for (let second = 0; second < 120; second++) {
    const { data } = await api.GET("/tasks/{task_id}", { params: { path: { task_id: taskId } } });
    assert.ok(data);
    if (["done", "failed", "canceled"].includes(data.status)) return data;
    await sleep(1000);
  }
  throw new Error("the task did not end in time");
}

api.use({
  onRequest({ request }) {
    if (token) request.headers.set("Authorization", `Bearer ${token}`);
  },
});
let token = "";
token = await logIn();
const created = await api.POST("/tasks", { body: { url: process.env.VIDEO_URL ?? "" } });
assert.ok(created.data);
const task = await finished(created.data.task_id);
assert.equal(task.status, "done");
for (const part of task.parts) {
  const clip = await api.GET("/tasks/{task_id}/parts/{number}", {
    params: { path: { task_id: task.task_id, number: part.number } },
    parseAs: "arrayBuffer",
  });
  assert.ok(clip.data);
  const sha256 = createHash("sha256").update(new Uint8Array(clip.data)).digest("hex");
  assert.equal(sha256, part.sha256);
}
assert.ok(task.parts.length > 0);
const missing = await api.GET("/tasks/{task_id}", { params: { path: { task_id: randomUUID() } } });
assert.ok(missing.error && "code" in missing.error);
assert.equal(missing.error.code, "task_not_found");
console.log("the generated TypeScript client made the whole journey");
