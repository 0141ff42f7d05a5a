// Starts the page: the first search is on its way before the first pixel is drawn.
//
// In the flow: **`main`** → `page.svelte` → `explorer.svelte`, `session.svelte`, `components/App`.

import { mount } from "svelte";
import App from "./components/App.svelte";
import { Page } from "./page.svelte";
import "./style.css";

const page = new Page();
page.explorer.start();
page.session.watch();

const target = document.getElementById("app");
if (target) mount(App, { target, props: { page } });
