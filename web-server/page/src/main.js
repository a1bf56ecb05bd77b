// @ts-check
import { render } from "preact";
import { App } from "./app.js";
import { sharePath } from "./screens/shared.js";
import { start } from "./session.js";
import { html } from "./ui.js";
import { language, setLanguage } from "./words.js";

setLanguage(language.value);
render(html`<${App} />`, /** @type {Element} */ (document.getElementById("app")));
if (!sharePath) start(); // who opens a share link needs no account
