// What a key may do, and what is said to somebody whose key may not: always with the way out.
//
// In the flow: `api` → **`access`** → `session.svelte`, `components/SignIn`, `components/NotAllowed`.

import type { Problem } from "./api";
import type { Scope, SessionReply } from "./api_types";

/** What the scopes of this page allow, as it reads after "may". `ingest` and `observe` are not among them: the page sends no events, and shows no metrics. */
export const ACTS: Readonly<Record<Exclude<Scope, "ingest" | "observe">, string>> = {
  query: "search",
  tail: "follow the live tail",
  export: "export events",
  admin: "redrive dead letters",
};

export type Act = keyof typeof ACTS;

/** Why somebody may not do this. */
export function lackOf(act: Act, id: string | null): string {
  return `${id === null ? "This key" : `The key \`${id}\``} may not ${ACTS[act]}: it lacks the scope \`${act}\`. Whoever runs logflow can add it in the key file.`;
}

/** Whose events a key sees. */
export function seenBy({ tenant }: SessionReply): string {
  return tenant === null ? "the events of all tenants" : `the events of the tenant ${tenant}`;
}

/** Whether what one of them has on the page is not for the other. */
export function isAnother(before: SessionReply, now: SessionReply): boolean {
  return before.id !== now.id || before.tenant !== now.tenant;
}

const OPERATOR = "whoever runs logflow";

/** Why a key that was just typed does not open the page. */
export function refusalOf(problem: Problem): string {
  switch (problem.code) {
    case "key_unreadable":
      return "That is no whole key. A key is an id, a dot and a secret, in one piece: copy all of it again.";
    case "key_unknown":
      return `There is no such key, or its secret is another one. Copy all of it again; if that does not help, it was replaced or taken back: ask ${OPERATOR} for another.`;
    case "key_expired":
      return `This key has expired. Ask ${OPERATOR} for another.`;
    case "key_missing":
      return "The key is right, but the browser did not keep the cookie that stands for it. Allow cookies for this address, and sign in again.";
    default:
      return `The key could not be checked, try again in a moment: ${problem.detail}`;
  }
}

/** Why a session does not count (any more); null if there simply is none yet. */
export function endOf(problem: Problem, wasSignedIn: boolean): string | null {
  switch (problem.code) {
    case "key_expired":
      return `The key you were signed in with has expired. Ask ${OPERATOR} for another.`;
    case "key_unknown":
    case "key_unreadable":
      return `The key you were signed in with counts no longer: it was replaced or taken back. Ask ${OPERATOR} for another.`;
    default:
      return wasSignedIn ? "Your session has ended. What you were looking at is there again once you have signed in." : null;
  }
}
