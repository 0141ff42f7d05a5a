// Knows where each row of a long list lies although only the rows on screen have ever been measured.
//
// In the flow: `explorer.svelte` → **`row_heights`** → `components/VirtualList`. A Fenwick tree holds by how much measured rows differ
// from the estimate, so that one row's change costs log n and not a pass over 10,000 rows.

export class RowHeights {
  #count = 0;
  #measured: number[] = [];
  #tree: number[] = [0];

  constructor(readonly estimate: number) {}

  get count(): number {
    return this.#count;
  }

  /** Keeps what is known about the rows that stay. */
  resize(count: number): void {
    if (count < this.#count) {
      const kept = this.#measured.slice(0, count);
      this.#count = 0;
      this.#measured = [];
      this.#tree = [0];
      this.#grow(count);
      kept.forEach((height, row) => this.measure(row, height));
    } else this.#grow(count);
  }

  #grow(count: number): void {
    while (this.#count < count) {
      this.#measured.push(this.estimate);
      this.#count += 1;
      const node = this.#count;
      // A new node sums up the nodes below it.
      let sum = 0;
      const lowest = node - (node & -node);
      for (let child = node - 1; child > lowest; child -= child & -child) sum += this.#tree[child] ?? 0;
      this.#tree.push(sum);
    }
  }

  /** Takes a row's true height; says by how much that moves the rows after it. */
  measure(row: number, height: number): number {
    const change = height - (this.#measured[row] ?? height);
    if (change === 0) return 0;
    this.#measured[row] = height;
    for (let node = row + 1; node <= this.#count; node += node & -node) this.#tree[node] = (this.#tree[node] ?? 0) + change;
    return change;
  }

  /** The distance of a row's upper edge from the list's. */
  top(row: number): number {
    let sum = row * this.estimate;
    for (let node = row; node > 0; node -= node & -node) sum += this.#tree[node] ?? 0;
    return sum;
  }

  get total(): number {
    return this.top(this.#count);
  }

  /** The row at that distance, kept within the list. */
  at(y: number): number {
    let low = 0;
    let high = this.#count - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.top(middle) <= y) low = middle;
      else high = middle - 1;
    }
    return Math.max(0, low);
  }
}
