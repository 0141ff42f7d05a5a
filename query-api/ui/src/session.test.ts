// A request that is refused for want of a key waits for the sign-in, whatever overtakes what.

import { afterEach, expect, test, vi } from "vitest";
import { Api, Problem } from "./api";
import { Session } from "./session.svelte";

/** A query API that wants the key `good`, and answers when it is told to. */
class Server {
  cookie = "";
  asked: string[] = [];
  #held: (() => void)[] | null = null;

  hold(): void {
    this.#held = [];
  }

  /** Answers the latest first. */
  async release(): Promise<void> {
    const held = this.#held ?? [];
    this.#held = null;
    for (const go of held.reverse()) {
      go();
      await settled();
    }
  }

  fetch = async (address: string, init: RequestInit = {}): Promise<Response> => {
    const what = `${init.method ?? "GET"} ${address.replace("/api/v1", "")}`;
    this.asked.push(what);
    if (what === "POST /session") this.cookie = (JSON.parse(String(init.body)) as { key: string }).key;
    // What counts is when it was asked.
    const counts = this.cookie === "good";
    if (this.#held && what !== "POST /session") await new Promise<void>((go) => this.#held?.push(go));
    if (!counts) return new Response('{"code":"key_missing","detail":"a key, please"}', { status: 401 });
    if (what.includes("/session")) return new Response('{"needs_key":true,"id":"a","tenant":null,"scopes":["query"],"expires":null}');
    return new Response('{"sinks":[]}');
  };
}

function start(): { server: Server; api: Api; session: Session } {
  const server = new Server();
  vi.stubGlobal("fetch", server.fetch);
  const api: Api = new Api({ signedIn: (signal) => session.signedIn(signal), lacking: () => undefined });
  const session = new Session(api);
  return { server, api, session };
}

const never = (): AbortSignal => new AbortController().signal;
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

afterEach(() => vi.unstubAllGlobals());

test("it is sent again once somebody has signed in, and not before", async () => {
  const { server, api, session } = start();
  const reply = api.pipeline(never());
  await vi.waitFor(() => expect(session.keyWanted).toBe(true));
  await settled();
  expect(server.asked).toEqual(["GET /pipeline", "GET /session"]);
  expect((await session.signIn("bad"))?.code).toBe("key_missing");
  expect(session.keyWanted).toBe(true);
  expect(await session.signIn("good")).toBeNull();
  expect(session.keyWanted).toBe(false);
  expect(await reply).toEqual({ sinks: [] });
});

test("a refusal that arrives after the sign-in asks for none", async () => {
  const { server, session } = start();
  server.hold();
  const asked = session.ask();
  await settled();
  const signIn = session.signIn("good");
  await settled();
  await server.release();
  expect(await signIn).toBeNull();
  await asked;
  expect(session.keyWanted).toBe(false);
});

test("whoever cancels while it waits is not kept waiting", async () => {
  const { api, session } = start();
  const asked = new AbortController();
  const reply = api.pipeline(asked.signal);
  await vi.waitFor(() => expect(session.keyWanted).toBe(true));
  await settled();
  asked.abort();
  await expect(reply).rejects.toMatchObject({ name: "AbortError" });
});

test("a request that is refused although the key counts is told of, in the end", async () => {
  const { server, api, session } = start();
  await session.signIn("good");
  vi.stubGlobal("fetch", (address: string, init?: RequestInit) => (address.includes("/session") ? server.fetch(address, init) : Promise.resolve(new Response("{}", { status: 401 }))));
  await expect(api.pipeline(never())).rejects.toBeInstanceOf(Problem);
});
