// @ts-check
import { render } from "preact";
import { App } from "./app.js";
import { ignoreStrayClicks } from "./double_click.js";
import { keepFocus } from "./focus.js";
import { sharePath } from "./screens/shared.js";
import { start } from "./session.js";
import { html } from "./ui.js";

// Without this, the browser would leave the page to show a file that is dropped outside of a file input.
for (const type of ["dragover", "drop"]) {
  addEventListener(type, (event) => {
    const { dataTransfer, target } = /** @type {DragEvent} */ (event);
    const isTaken = target instanceof HTMLInputElement && target.type === "file";
    if (isTaken || !dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    if (type === "dragover") dataTransfer.dropEffect = "none";
  });
}

keepFocus();
ignoreStrayClicks();
const app = /** @type {Element} */ (document.getElementById("app"));
app.replaceChildren(); // the header of index.html, which is there before this script
render(html`<${App} />`, app);
if (!sharePath) start(); // a share link needs no account, so no session
