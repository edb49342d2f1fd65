import {createHash} from 'node:crypto';

/** The first 64 bits of an id's SHA-256. Two of a million ids share them with a probability of 3e-8. */
function idHash(id: string): bigint {
  return createHash('sha256').update(id).digest().readBigUInt64LE();
}

/** Remembers ids in 11 to 22 bytes each, however long they are. */
export class IdSet {
  #table = new BigUint64Array(2 ** 10);
  #count = 0;

  /** Whether the id is new. */
  add(id: string): boolean {
    if (this.#count >= 0.75 * this.#table.length) this.#grow();
    const isNew = insert(this.#table, idHash(id) || 1n); // 0 is an empty place.
    if (isNew) this.#count++;
    return isNew;
  }

  #grow(): void {
    const old = this.#table;
    this.#table = new BigUint64Array(2 * old.length);
    for (const hash of old) if (hash !== 0n) insert(this.#table, hash);
  }
}

function insert(table: BigUint64Array, hash: bigint): boolean {
  const mask = table.length - 1;
  let place = Number(hash & 0xffff_ffffn) & mask;
  while (table[place] !== 0n) {
    if (table[place] === hash) return false;
    place = (place + 1) & mask;
  }
  table[place] = hash;
  return true;
}
