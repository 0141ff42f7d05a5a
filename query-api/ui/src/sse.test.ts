import fc from "fast-check";
import { expect, test } from "vitest";
import { EventReader } from "./sse";

const STREAM = ': heartbeat\n\nevent: log\nid: 0:5\ndata: {"a":1}\n\nevent: dropped\r\ndata: {"count":7}\r\n\r\ndata: one\ndata:two\n\nid: 0:6\n\n';

test("events are the same however the stream is cut", () => {
  const whole = new EventReader().push(STREAM);
  expect(whole).toEqual([
    { type: "log", data: '{"a":1}', id: "0:5" },
    { type: "dropped", data: '{"count":7}', id: "0:5" },
    { type: "message", data: "one\ntwo", id: "0:5" },
  ]);
  fc.assert(
    fc.property(fc.array(fc.nat(STREAM.length), { maxLength: 12 }), (cuts) => {
      const reader = new EventReader();
      const edges = [0, ...cuts.sort((a, b) => a - b), STREAM.length];
      expect(edges.slice(1).flatMap((end, i) => reader.push(STREAM.slice(edges[i], end)))).toEqual(whole);
    }),
  );
});

test("an event without its end is none yet", () => {
  const reader = new EventReader();
  expect(reader.push("data: x\n")).toEqual([]);
  expect(reader.push("\n")).toHaveLength(1);
});
