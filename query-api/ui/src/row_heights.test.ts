import fc from "fast-check";
import { expect, test } from "vitest";
import { RowHeights } from "./row_heights";

const action = fc.oneof(
  fc.record({ do: fc.constant("resize" as const), count: fc.nat(60) }),
  fc.record({ do: fc.constant("measure" as const), row: fc.nat(60), height: fc.integer({ min: 1, max: 300 }) }),
);

test("positions are those of a list that adds heights up", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
      const heights = new RowHeights(20);
      let model: number[] = [];
      for (const act of actions) {
        if (act.do === "resize") {
          heights.resize(act.count);
          model = Array.from({ length: act.count }, (_, i) => model[i] ?? 20);
        } else if (act.row < model.length) {
          heights.measure(act.row, act.height);
          model[act.row] = act.height;
        }
        let y = 0;
        model.forEach((height, row) => {
          expect(heights.top(row)).toBe(y);
          expect(heights.at(y)).toBe(row);
          expect(heights.at(y + height - 0.5)).toBe(row);
          y += height;
        });
        expect(heights.total).toBe(y);
      }
    }),
  );
});
