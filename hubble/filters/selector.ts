// Label selectors in Kubernetes' syntax, "app=a,tier in (x,y),!debug"; a key may name its source ("k8s:app").
import { RequestError } from '../errors.ts';

/** The values of each key, with its source. */
export type Labels = ReadonlyMap<string, readonly string[]>;
export type Requirement = (labels: Labels) => boolean;

/** The source of keys that name none: whichever. */
export const anySource = 'any:';

const maxLength = 4096;
const tokenPattern = /!=|==|[=!,()<>]|[^\s=!,()<>]+/g;
const isWord = (token: string | undefined): token is string => token !== undefined && !/^[=!,()<>]/.test(token);

export function compileSelector(field: string, selector: string): Requirement {
  if (selector.length > maxLength) throw new RequestError(`invalid ${field} filter: a selector with more than ${maxLength} characters`);
  const parser = new Parser(selector, `invalid ${field} filter: selector ${JSON.stringify(selector.slice(0, 100))}`);
  const requirements = parser.all();
  return (labels) => requirements.every((holds) => holds(labels));
}

class Parser {
  readonly #tokens: readonly string[];
  readonly #context: string;
  #at = 0;

  constructor(selector: string, context: string) {
    this.#tokens = selector.match(tokenPattern) ?? [];
    this.#context = context;
  }

  all(): Requirement[] {
    const requirements: Requirement[] = [];
    while (this.#at < this.#tokens.length) {
      requirements.push(this.#requirement());
      if (this.#at < this.#tokens.length) this.#expect(',');
    }
    return requirements;
  }

  #requirement(): Requirement {
    if (this.#take('!')) {
      const key = this.#key();
      return (labels) => !labels.has(key);
    }
    const key = this.#key();
    const operator = this.#tokens[this.#at];
    if (operator === undefined || operator === ',') return (labels) => labels.has(key);
    this.#at += 1;
    switch (operator) {
      case '=': case '==': return isIn(key, [this.#value()]);
      case '!=': return not(isIn(key, [this.#value()]));
      case 'in': return isIn(key, this.#values());
      case 'notin': return not(isIn(key, this.#values()));
      case '<': return this.#compare(key, (number, bound) => number < bound);
      case '>': return this.#compare(key, (number, bound) => number > bound);
      default: return this.#refuse(`unknown operator ${JSON.stringify(operator)}`);
    }
  }

  #compare(key: string, holds: (number: number, bound: number) => boolean): Requirement {
    const text = this.#value();
    if (!/^-?[0-9]+$/.test(text)) this.#refuse('"<" and ">" need an integer');
    return (labels) => (labels.get(key) ?? []).some((value) => /^-?[0-9]+$/.test(value) && holds(Number(value), Number(text)));
  }

  #values(): string[] {
    this.#expect('(');
    const values = [this.#value()];
    while (this.#take(',')) values.push(this.#value());
    this.#expect(')');
    return values;
  }

  #key(): string {
    const token = this.#tokens[this.#at];
    if (!isWord(token)) return this.#refuse(token === undefined ? 'it ends where a key should be' : `found ${JSON.stringify(token)} where a key should be`);
    this.#at += 1;
    return token.includes(':') ? token : `${anySource}${token}`;
  }

  /** May be missing: "key=" and "in ()" mean the empty one. */
  #value(): string {
    const token = this.#tokens[this.#at];
    if (!isWord(token)) return '';
    this.#at += 1;
    return token;
  }

  #take(token: string): boolean {
    if (this.#tokens[this.#at] !== token) return false;
    this.#at += 1;
    return true;
  }

  #expect(token: string): void {
    if (!this.#take(token)) this.#refuse(`expected ${JSON.stringify(token)}, found ${JSON.stringify(this.#tokens[this.#at] ?? 'the end')}`);
  }

  #refuse(why: string): never {
    throw new RequestError(`${this.#context}: ${why}`);
  }
}

const isIn = (key: string, wanted: readonly string[]): Requirement => (labels) => (labels.get(key) ?? []).some((value) => wanted.includes(value));

/** Holds for an absent key too. */
const not = (requirement: Requirement): Requirement => (labels) => !requirement(labels);
