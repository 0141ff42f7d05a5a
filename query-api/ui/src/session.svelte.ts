// Who the page is to the API: asks, signs in and out, and notices when that changes.
//
// In the flow: `api` → **`session.svelte`** → `page.svelte`, `components/SignIn`, `components/Account`.
// The key is in a cookie that no script can read, and nowhere on the page.

import { isAnother } from "./access";
import { asProblem, type Api, type Problem } from "./api";
import type { Scope, SessionReply } from "./api_types";

export class Session {
  /** As the API said it last; null while it has said nothing. */
  who = $state.raw<SessionReply | null>(null);
  /** Whether the API says nothing without a key, and there is none that counts. */
  keyWanted = $state(false);
  /** Why none counts. */
  problem = $state.raw<Problem | null>(null);

  #asking: Promise<void> | null = null;
  #waiting = new Set<() => void>();
  /** How often a key was found to count. */
  #found = 0;

  constructor(readonly api: Api) {}

  /** Until the API has said what the key may do, it is not the page that forbids. */
  may(scope: Scope): boolean {
    return this.who === null || this.who.scopes.includes(scope);
  }

  /** Asks now, and whenever somebody comes back to the page: another tab may have signed in or out. */
  watch(): void {
    void this.ask();
    document.addEventListener("visibilitychange", () => void (document.visibilityState === "visible" && this.ask()));
    // Back from another site brings the page as it was left.
    addEventListener("pageshow", (event) => void (event.persisted && this.ask()));
  }

  /** Resolves when a key counts: at once, or once somebody has signed in. */
  async signedIn(signal: AbortSignal): Promise<void> {
    await this.ask();
    signal.throwIfAborted();
    if (!this.keyWanted) return;
    await new Promise<void>((resolve, reject) => {
      this.#waiting.add(resolve);
      signal.addEventListener("abort", () => {
        this.#waiting.delete(resolve);
        reject(signal.reason as DOMException);
      });
    });
  }

  ask(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #ask(): Promise<void> {
    const found = this.#found;
    try {
      this.#is(await this.api.session(new AbortController().signal));
    } catch (error) {
      const problem = asProblem(error);
      // Whatever else fails is told where it is needed; and what was asked before a sign-in says nothing of what is since.
      if (problem?.status !== 401 || found !== this.#found) return;
      this.problem = problem;
      this.keyWanted = true;
    }
  }

  /** Gives the reason if the key does not open the page. */
  async signIn(key: string): Promise<Problem | null> {
    const { signal } = new AbortController();
    try {
      await this.api.signIn(key, signal);
      // The cookie is what counts from now on, and a browser may have kept none.
      this.#is(await this.api.session(signal));
      return null;
    } catch (error) {
      return asProblem(error);
    }
  }

  /** Leaves nothing on the page of what the key has shown. The address stays. */
  async signOut(): Promise<void> {
    await this.api.signOut(new AbortController().signal);
    location.reload();
  }

  #is(who: SessionReply): void {
    // What is on the page was shown to another key, and what waits was asked by it.
    if (this.who !== null && isAnother(this.who, who)) return location.reload();
    this.#found += 1;
    this.who = who;
    this.problem = null;
    this.keyWanted = false;
    for (const go of this.#waiting) go();
    this.#waiting.clear();
  }
}
