// Holds what is no part of the address: theme, open dialog, session, what was just said; and hands itself to every component.
//
// In the flow: `storage` → **`page.svelte`** → `components`.

import { getContext, setContext } from "svelte";
import { Api } from "./api";
import { Explorer } from "./explorer.svelte";
import { Pipeline } from "./pipeline.svelte";
import { Redrive } from "./redrive.svelte";
import { Session } from "./session.svelte";
import { readSingleKeys, readTheme, writeSingleKeys, writeTheme, type Theme } from "./storage";
import { Tail } from "./tail.svelte";

const SAID_MS = 4_000;
/** Below this width rows take two lines and the fields lie over the list. */
export const NARROW_QUERY = "(max-width: 760px)";

export type Dialog = "keys" | null;
export type Menu = "time" | "columns" | "export" | "saved" | "account" | null;

export class Page {
  theme = $state<Theme>(readTheme());
  singleKeys = $state(readSingleKeys());
  dialog = $state<Dialog>(null);
  /** Which of the small menus is open; one at a time. */
  menu = $state<Menu>(null);
  /** Whether the fields are shown; on a narrow page they lie over the list. */
  facets = $state(!matchMedia(NARROW_QUERY).matches);
  narrow = $state(matchMedia(NARROW_QUERY).matches);
  /** What a screen reader is told, and what is shown for a moment. */
  said = $state("");

  readonly session: Session;
  readonly explorer: Explorer;
  readonly tail: Tail;
  readonly pipeline: Pipeline;
  readonly redrive: Redrive;
  #silence: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    const api = new Api({ signedIn: (signal) => this.session.signedIn(signal), lacking: () => void this.session.ask() });
    this.session = new Session(api);
    this.explorer = new Explorer(api);
    this.tail = new Tail(api);
    this.pipeline = new Pipeline(api, () => !this.session.keyWanted && this.session.may("query"));
    this.redrive = new Redrive(api, this.pipeline);
    matchMedia(NARROW_QUERY).addEventListener("change", ({ matches }) => {
      this.narrow = matches;
      this.facets = !matches;
    });
    this.#applyTheme();
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    writeTheme(theme);
    this.#applyTheme();
    this.say(theme === "auto" ? "Colours as the system" : theme === "dark" ? "Dark" : "Light");
  }

  nextTheme(): void {
    this.setTheme(this.theme === "auto" ? "dark" : this.theme === "dark" ? "light" : "auto");
  }

  #applyTheme(): void {
    if (this.theme === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.dataset["theme"] = this.theme;
  }

  setSingleKeys(on: boolean): void {
    this.singleKeys = on;
    writeSingleKeys(on);
  }

  say(text: string): void {
    clearTimeout(this.#silence);
    this.said = text;
    this.#silence = setTimeout(() => (this.said = ""), SAID_MS);
  }

  async copy(text: string, what: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      this.say(`${what} copied`);
    } catch {
      // Without a secure context there is no clipboard; the old way still works where a page was clicked.
      const area = document.createElement("textarea");
      area.value = text;
      area.setAttribute("readonly", "");
      area.className = "off-screen";
      (document.querySelector("dialog[open]") ?? document.body).append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      this.say(copied ? `${what} copied` : "The browser does not allow copying");
    }
  }
}

const PAGE = Symbol("page");

export function providePage(page: Page): Page {
  return setContext(PAGE, page);
}

export function usePage(): Page {
  return getContext<Page>(PAGE);
}
