import {setImmediate as nextTurn} from 'node:timers/promises';
import type {RepVGGError, RepVGGErrorCode} from '../../errors.ts';
import {formatCount} from '../../support/plain_text.ts';
import type {ByteWindow} from '../byte_window.ts';
import {printable} from '../file.ts';
import {op} from './opcodes.ts';
import {
  hasSetState,
  keyOf,
  maxNameLength,
  type PickleContext,
  PickleGlobal,
  PythonName,
  PythonObject,
} from './python_objects.ts';
import {literals, PickleReader} from './reader.ts';
import {maxValues, PickleStack} from './stack.ts';

/** Opcodes that are interpreted in a few milliseconds. */
const valuesPerTurn = 2 ** 15;

export interface PickleOptions {
  /** The allow-list, by "module.name". */
  globals: ReadonlyMap<string, PickleGlobal>;
  /** The reason why a harmless name is not supported; undefined for all other names. */
  unsupported(name: string): string | undefined;
  /** Resolves what a persistent id refers to: in PyTorch files, a storage. */
  persistentLoad(id: unknown): unknown;
  fail(code: RepVGGErrorCode, problem: string): RepVGGError;
  /** Values created so far: the limit holds for all pickles of a file together. */
  made: {values: number};
}

/**
 * Interprets one pickle (protocols 1 to 5, PEP 3154 and 574) without executing code. Tuples and lists become arrays, dicts
 * become Maps, sets become Sets, integers beyond 2^53 become bigints, and bytes become unread {@link PickleBytes}.
 *
 * Names are harmless until they are called, so a pickle may name anything, which becomes a {@link PythonName}. An object of
 * an unknown class becomes a {@link PythonObject}, which only holds its attributes: Python, too, creates such objects
 * without calling `__init__`. A call of anything that is not on the allow-list is refused.
 *
 * @param window positioned at the start of the pickle, and afterwards at its end
 * @throws {RepVGGError} ERR_CHECKPOINT_UNSAFE for a call outside the allow-list, ERR_CHECKPOINT_TRUNCATED, ERR_CHECKPOINT_CORRUPT,
 *   or ERR_CHECKPOINT_UNSUPPORTED beyond 1,000,000 values and for the names that `options.unsupported` explains
 */
export function unpickle(window: ByteWindow, options: PickleOptions): Promise<unknown> {
  return new Unpickler(new PickleReader(window, options.fail), options).run();
}

class Unpickler implements PickleContext {
  readonly #reader: PickleReader;
  readonly #options: PickleOptions;
  readonly #stack: PickleStack;

  constructor(reader: PickleReader, options: PickleOptions) {
    this.#reader = reader;
    this.#options = options;
    this.#stack = new PickleStack(problem => reader.corrupt(problem));
  }

  async run(): Promise<unknown> {
    const stack = this.#stack;
    const reader = this.#reader;
    for (let turn = 1; ; turn++) {
      if (turn % valuesPerTurn === 0) await nextTurn();
      if (!reader.isFilled) await reader.fill();
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
          return stack.pop();

        case op.LIST:
        case op.TUPLE:
          stack.push(stack.popMark());
          break;
        case op.TUPLE1:
          stack.push(stack.take(1));
          break;
        case op.TUPLE2:
          stack.push(stack.take(2));
          break;
        case op.TUPLE3:
          stack.push(stack.take(3));
          break;
        case op.APPEND:
          this.#append(stack.take(1));
          break;
        case op.APPENDS:
          this.#append(stack.popMark());
          break;
        case op.DICT:
          stack.push(this.#assign(new Map(), stack.popMark()));
          break;
        case op.SETITEM:
          this.#setItems(stack.take(2));
          break;
        case op.SETITEMS:
          this.#setItems(stack.popMark());
          break;
        case op.FROZENSET:
          stack.push(new Set(stack.popMark().map(keyOf)));
          break;
        case op.ADDITEMS: {
          const items = stack.popMark();
          const set = stack.top(isSet);
          for (const item of items) set.add(keyOf(item));
          break;
        }

        case op.MARK:
          stack.mark();
          break;
        case op.POP:
          stack.drop();
          break;
        case op.POP_MARK:
          stack.popMark();
          break;
        case op.DUP:
          stack.push(stack.top());
          break;
        case op.GET:
          stack.push(stack.recall(Number(reader.line())));
          break;
        case op.BINGET:
          stack.push(stack.recall(reader.unsigned(1)));
          break;
        case op.LONG_BINGET:
          stack.push(stack.recall(reader.unsigned(4)));
          break;
        case op.PUT:
          stack.keep(Number(reader.line()));
          break;
        case op.BINPUT:
          stack.keep(reader.unsigned(1));
          break;
        case op.LONG_BINPUT:
          stack.keep(reader.unsigned(4));
          break;
        case op.MEMOIZE:
          stack.keep(stack.kept);
          break;

        case op.GLOBAL: {
          const module = reader.line();
          stack.push(this.#global(module, reader.line()));
          break;
        }
        case op.STACK_GLOBAL: {
          const [module, name] = stack.take(2);
          stack.push(this.#global(module, name));
          break;
        }
        case op.INST: {
          const module = reader.line();
          const callee = this.#global(module, reader.line());
          stack.push(this.call(callee, stack.popMark()));
          break;
        }
        case op.REDUCE: {
          const [callee, args] = stack.take(2);
          stack.push(this.call(callee, args));
          break;
        }
        case op.NEWOBJ: {
          const [type, args] = stack.take(2);
          stack.push(this.#create(type, args));
          break;
        }
        case op.NEWOBJ_EX: {
          const [type, args] = stack.take(3); // The third are keyword arguments.
          stack.push(this.#create(type, args));
          break;
        }
        case op.BUILD: {
          const state = stack.pop();
          const object = stack.top();
          // Other state is dropped: attributes of a state dict, such as `_metadata`, do not concern its tensors.
          if (hasSetState(object)) object.setState(state, this);
          break;
        }
        case op.BINPERSID:
          stack.push(this.#options.persistentLoad(stack.pop()));
          break;

        default: {
          const literal = literals.get(opcode);
          if (literal) {
            stack.push(literal(reader));
            break;
          }
          const shown = `0x${opcode.toString(16).padStart(2, '0')}`;
          throw this.corrupt(`has opcode ${shown} at byte ${at}, which no checkpoint contains`);
        }
      }
    }
  }

  count(values: number): void {
    const {made} = this.#options;
    made.values += values;
    if (made.values > maxValues) {
      const limit = formatCount(maxValues);
      const problem = `its pickle makes more than ${limit} values, where a state dict needs some thousands`;
      throw this.unsupported(problem);
    }
  }

  call(callee: unknown, args: unknown): unknown {
    if (callee instanceof PickleGlobal && isArray(args)) return callee.call(args, this);
    if (!(callee instanceof PythonName)) throw this.corrupt('has a malformed call');
    throw this.#options.fail(
      'ERR_CHECKPOINT_UNSAFE',
      `its pickle calls ${printable(callee.name)}, which weights do not need, and nothing was run; ` +
        'if you trust the file, save only its weights in Python: torch.save(model.state_dict(), path)',
    );
  }

  corrupt(problem: string): RepVGGError {
    return this.#reader.corrupt(problem);
  }

  unsupported(problem: string): RepVGGError {
    return this.#options.fail('ERR_CHECKPOINT_UNSUPPORTED', problem);
  }

  /** Items of unknown list classes are dropped: no weights are stored in one. */
  #append(items: unknown[]): void {
    const list = this.#stack.top();
    if (list instanceof PythonObject) return;
    if (!isArray(list)) throw this.corrupt('adds to a value that cannot hold it');
    for (const item of items) list.push(item);
  }

  #setItems(items: unknown[]): void {
    const dict = this.#stack.top();
    const map = dict instanceof PythonObject ? dict.entries : dict;
    if (!(map instanceof Map)) throw this.corrupt('adds to a value that cannot hold it');
    this.#assign(map, items);
  }

  #assign(map: Map<unknown, unknown>, items: unknown[]): Map<unknown, unknown> {
    if (items.length % 2 !== 0) throw this.corrupt('has a dict key without a value');
    for (let i = 0; i < items.length; i += 2) map.set(keyOf(items[i]), items[i + 1]);
    return map;
  }

  /** What `class.__new__(class, ...)` returns; for an unknown class, an object without attributes. */
  #create(callee: unknown, args: unknown): unknown {
    if (callee instanceof PickleGlobal) return this.call(callee, args);
    if (callee instanceof PythonName) return new PythonObject(callee.name);
    throw this.corrupt('has a malformed call');
  }

  #global(module: unknown, name: unknown): PythonName {
    if (typeof module !== 'string' || typeof name !== 'string') throw this.corrupt('has a malformed name');
    if (module.length + name.length > maxNameLength) throw this.corrupt('has an endless name');
    // Python 2 had other names for two modules; posix and nt are the implementations of os.
    const shown = module
      .replace(/^__builtin__$/, 'builtins')
      .replace(/^copy_reg$/, 'copyreg')
      .replace(/^(posix|nt)$/, 'os');
    const found = this.#options.globals.get(`${shown}.${name}`);
    if (found) return found;
    const problem = this.#options.unsupported(`${shown}.${name}`);
    if (problem !== undefined) throw this.unsupported(problem);
    return new PythonName(`${shown}.${name}`);
  }
}

const isArray = (value: unknown): value is unknown[] => Array.isArray(value);
const isSet = (value: unknown): value is Set<unknown> => value instanceof Set;
