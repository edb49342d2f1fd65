import type {RepVGGError, RepVGGErrorCode} from '../errors.ts';
import {printable} from './file.ts';
import {op} from './pickle_opcodes.ts';
import {PickleReader} from './pickle_reader.ts';

/** Values one pickle may make. A RepVGG state dict makes some thousands, a training checkpoint some ten thousand. */
const maxValues = 1_000_000;

/** What a function of the allow-list may ask of the interpreter. */
export interface PickleContext {
  /** Accounts for values that a call makes beyond those on the stack, so that small pickles stay small. */
  count(values: number): void;
  /** The error for wrong arguments. */
  corrupt(problem: string): RepVGGError;
}

/** A Python name that pickles may use. `call` stands in for the Python function; nothing of Python is ever run. */
export class PickleGlobal {
  readonly name: string;
  readonly call: (args: readonly unknown[], context: PickleContext) => unknown;

  constructor(name: string, call: PickleGlobal['call']) {
    this.name = name;
    this.call = call;
  }
}

export interface PickleOptions {
  /** The allow-list, by "module.name". */
  globals: ReadonlyMap<string, PickleGlobal>;
  /** What is wrong with a file that uses this name, where that is known and harmless. */
  unsupported(name: string): string | undefined;
  /** Resolves what a persistent id refers to: in PyTorch files, a storage. */
  persistentLoad(id: unknown): unknown;
  fail(code: RepVGGErrorCode, problem: string): RepVGGError;
}

/**
 * Interprets one pickle (protocols 1 to 5, PEP 3154 and 574) and runs none of it. Tuples and lists become arrays, dicts
 * become Maps, sets become Sets, integers beyond 2^53 become bigints; attributes set by BUILD are dropped.
 *
 * @param bytes holds the pickle, and may hold more
 * @param start where the pickle begins in `bytes`
 * @returns the value, and where in `bytes` the pickle ends
 * @throws {RepVGGError} ERR_CHECKPOINT_UNSAFE for a name outside the allow-list, ERR_CHECKPOINT_TRUNCATED when `bytes` end
 *   first, ERR_CHECKPOINT_CORRUPT, or ERR_CHECKPOINT_UNSUPPORTED beyond 1,000,000 values and as `options` say
 */
export function unpickle(
  bytes: Buffer,
  start: number,
  options: PickleOptions,
): {value: unknown; end: number} {
  const reader = new PickleReader(bytes, start, options.fail);
  const value = new Unpickler(reader, options).run();
  return {value, end: reader.position};
}

class Unpickler implements PickleContext {
  readonly #reader: PickleReader;
  readonly #options: PickleOptions;
  readonly #stack: unknown[] = [];
  /** Stack heights. Nothing below the last one may be popped before its MARK is. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, unknown>();
  #values = 0;

  constructor(reader: PickleReader, options: PickleOptions) {
    this.#reader = reader;
    this.#options = options;
  }

  run(): unknown {
    const stack = this.#stack;
    const reader = this.#reader;
    for (;;) {
      const at = reader.position;
      const opcode = reader.unsigned(1);
      this.count(1);
      switch (opcode) {
        case op.PROTO:
          reader.unsigned(1);
          break;
        case op.FRAME:
          reader.unsigned(8);
          break;
        case op.STOP:
          return this.#pop();

        case op.NONE:
          stack.push(null);
          break;
        case op.NEWTRUE:
          stack.push(true);
          break;
        case op.NEWFALSE:
          stack.push(false);
          break;
        case op.BININT:
          stack.push(reader.take(4).readInt32LE());
          break;
        case op.BININT1:
          stack.push(reader.unsigned(1));
          break;
        case op.BININT2:
          stack.push(reader.unsigned(2));
          break;
        case op.LONG1:
          stack.push(reader.integer(1));
          break;
        case op.LONG4:
          stack.push(reader.integer(4));
          break;
        case op.INT:
        case op.LONG:
          stack.push(reader.integerLine());
          break;
        case op.BINFLOAT:
          stack.push(reader.take(8).readDoubleBE());
          break;
        // Python 2 has no other strings than these bytes, and torch.load reads them as UTF-8 too.
        case op.SHORT_BINSTRING:
        case op.SHORT_BINUNICODE:
          stack.push(reader.counted(1).toString('utf8'));
          break;
        case op.BINSTRING:
        case op.BINUNICODE:
          stack.push(reader.counted(4).toString('utf8'));
          break;
        case op.BINUNICODE8:
          stack.push(reader.counted(8).toString('utf8'));
          break;
        case op.SHORT_BINBYTES:
          stack.push(reader.counted(1));
          break;
        case op.BINBYTES:
          stack.push(reader.counted(4));
          break;
        case op.BINBYTES8:
        case op.BYTEARRAY8:
          stack.push(reader.counted(8));
          break;

        case op.EMPTY_LIST:
        case op.EMPTY_TUPLE:
          stack.push([]);
          break;
        case op.LIST:
        case op.TUPLE:
          stack.push(this.#popMark());
          break;
        case op.TUPLE1:
          stack.push([this.#pop()]);
          break;
        case op.TUPLE2: {
          const second = this.#pop();
          stack.push([this.#pop(), second]);
          break;
        }
        case op.TUPLE3: {
          const third = this.#pop();
          const second = this.#pop();
          stack.push([this.#pop(), second, third]);
          break;
        }
        case op.APPEND: {
          const item = this.#pop();
          this.#top(isArray).push(item);
          break;
        }
        case op.APPENDS: {
          const items = this.#popMark();
          const list = this.#top(isArray);
          for (const item of items) list.push(item);
          break;
        }
        case op.EMPTY_DICT:
          stack.push(new Map());
          break;
        case op.DICT: {
          const items = this.#popMark();
          stack.push(this.#assign(new Map(), items));
          break;
        }
        case op.SETITEM: {
          const value = this.#pop();
          const key = this.#pop();
          this.#top(isMap).set(key, value);
          break;
        }
        case op.SETITEMS: {
          const items = this.#popMark();
          this.#assign(this.#top(isMap), items);
          break;
        }
        case op.EMPTY_SET:
          stack.push(new Set());
          break;
        case op.FROZENSET:
          stack.push(new Set(this.#popMark()));
          break;
        case op.ADDITEMS: {
          const items = this.#popMark();
          const set = this.#top(isSet);
          for (const item of items) set.add(item);
          break;
        }

        case op.MARK:
          this.#marks.push(stack.length);
          break;
        case op.POP:
          if (stack.length === this.#floor()) this.#popMark();
          else stack.pop();
          break;
        case op.POP_MARK:
          this.#popMark();
          break;
        case op.DUP:
          stack.push(this.#top(isAnything));
          break;
        case op.GET:
          stack.push(this.#recall(Number(reader.line())));
          break;
        case op.BINGET:
          stack.push(this.#recall(reader.unsigned(1)));
          break;
        case op.LONG_BINGET:
          stack.push(this.#recall(reader.unsigned(4)));
          break;
        case op.PUT:
          this.#memo.set(Number(reader.line()), this.#top(isAnything));
          break;
        case op.BINPUT:
          this.#memo.set(reader.unsigned(1), this.#top(isAnything));
          break;
        case op.LONG_BINPUT:
          this.#memo.set(reader.unsigned(4), this.#top(isAnything));
          break;
        case op.MEMOIZE:
          this.#memo.set(this.#memo.size, this.#top(isAnything));
          break;

        case op.GLOBAL: {
          const module = reader.line();
          stack.push(this.#global(module, reader.line()));
          break;
        }
        case op.STACK_GLOBAL: {
          const name = this.#pop();
          stack.push(this.#global(this.#pop(), name));
          break;
        }
        case op.INST: {
          const module = reader.line();
          const callee = this.#global(module, reader.line());
          stack.push(callee.call(this.#popMark(), this));
          break;
        }
        case op.REDUCE:
        case op.NEWOBJ: {
          const args = this.#pop();
          const callee = this.#pop();
          if (!(callee instanceof PickleGlobal) || !isArray(args)) throw this.corrupt('has a malformed call');
          stack.push(callee.call(args, this));
          break;
        }
        case op.BUILD:
          // Attributes such as a state dict's `_metadata` say nothing about its tensors.
          this.#pop();
          this.#top(isAnything);
          break;
        case op.BINPERSID:
          stack.push(this.#options.persistentLoad(this.#pop()));
          break;

        default: {
          const shown = `0x${opcode.toString(16).padStart(2, '0')}`;
          throw this.corrupt(`has opcode ${shown} at byte ${at}, which no PyTorch checkpoint contains`);
        }
      }
    }
  }

  count(values: number): void {
    this.#values += values;
    if (this.#values > maxValues) {
      const limit = maxValues.toLocaleString('en');
      const problem = `its pickle makes more than ${limit} values, where a state dict needs some thousands`;
      throw this.#options.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
    }
  }

  corrupt(problem: string): RepVGGError {
    return this.#reader.corrupt(problem);
  }

  #floor(): number {
    return this.#marks.at(-1) ?? 0;
  }

  #pop(): unknown {
    if (this.#stack.length <= this.#floor()) throw this.corrupt('takes more values than it made');
    return this.#stack.pop();
  }

  #popMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw this.corrupt('ends a group that it did not begin');
    return this.#stack.splice(mark);
  }

  #top<T>(is: (value: unknown) => value is T): T {
    const value = this.#stack.at(-1);
    if (this.#stack.length <= this.#floor() || !is(value)) {
      throw this.corrupt('adds to a value that cannot hold it');
    }
    return value;
  }

  #recall(index: number): unknown {
    if (!this.#memo.has(index)) throw this.corrupt('recalls a value that it did not keep');
    return this.#memo.get(index);
  }

  #assign(map: Map<unknown, unknown>, items: unknown[]): Map<unknown, unknown> {
    if (items.length % 2 !== 0) throw this.corrupt('has a dict key without a value');
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
    return map;
  }

  #global(module: unknown, name: unknown): PickleGlobal {
    if (typeof module !== 'string' || typeof name !== 'string') throw this.corrupt('has a malformed name');
    // Python 2 called it __builtin__; posix and nt are what people import as os.
    const shown = module.replace(/^__builtin__$/, 'builtins').replace(/^(posix|nt)$/, 'os');
    const found = this.#options.globals.get(`${shown}.${name}`);
    if (found) return found;
    const problem = this.#options.unsupported(`${shown}.${name}`);
    if (problem !== undefined) throw this.#options.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
    throw this.#options.fail(
      'ERR_CHECKPOINT_UNSAFE',
      `its pickle calls ${printable(`${shown}.${name}`)}, which weights have no need of, and nothing was run; ` +
        'where you trust the file, save its weights alone in Python: torch.save(model.state_dict(), path)',
    );
  }
}

const isAnything = (_value: unknown): _value is unknown => true;
const isArray = (value: unknown): value is unknown[] => Array.isArray(value);
const isMap = (value: unknown): value is Map<unknown, unknown> => value instanceof Map;
const isSet = (value: unknown): value is Set<unknown> => value instanceof Set;
