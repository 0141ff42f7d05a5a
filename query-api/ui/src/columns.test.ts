import { expect, test } from "vitest";
import { gridOf, moveColumn, toggleColumn } from "./columns";

test("a new column stands before the message, which takes the room that is left", () => {
  expect(toggleColumn(["resourceId", "message"], "commit")).toEqual(["resourceId", "commit", "message"]);
  expect(toggleColumn(["resourceId", "message"], "resourceId")).toEqual(["message"]);
  expect(toggleColumn(["message", "a"], "b")).toEqual(["message", "a", "b"]);
});

test("columns move by one and stay within", () => {
  expect(moveColumn(["a", "b", "c"], "b", 1)).toEqual(["a", "c", "b"]);
  expect(moveColumn(["a", "b"], "a", -1)).toEqual(["a", "b"]);
  expect(moveColumn(["a", "b"], "x", 1)).toEqual(["a", "b"]);
});

test("one column takes what is left, also without a message", () => {
  expect(gridOf(["resourceId", "message"])).toEqual({ template: "2.6ch 21ch 20ch minmax(30ch, 1fr)", least_ch: 73.6 });
  expect(gridOf(["a"]).template).toBe("2.6ch 21ch minmax(20ch, 1fr)");
  expect(gridOf([]).template).toBe("2.6ch minmax(21ch, 1fr)");
});
