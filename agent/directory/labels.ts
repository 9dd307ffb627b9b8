// Labels of objects as Kubernetes takes them; selectors and identities are made of them, so nothing else may get in.

const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const name = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const maxPrefix = 253;
const maxName = 63;

export interface LabelProblem { readonly message: string; readonly mend?: string }

/** What is wrong with one label; undefined when nothing is. */
export function labelProblem(key: string, value: unknown): LabelProblem | undefined {
  const parts = key.split('/');
  const prefix = parts.length === 2 ? parts[0]! : 'none';
  if (parts.length > 2 || !subdomain.test(prefix) || prefix.length > maxPrefix || !isName(parts.at(-1)!)) {
    return {
      message: `${JSON.stringify(key)} is no label key`,
      mend: `write NAME or example.com/NAME: at most ${maxName} letters, digits, \`-\`, \`_\` and \`.\`, with a letter or digit at both ends`,
    };
  }
  if (typeof value !== 'string') {
    const plain = typeof value === 'number' || typeof value === 'boolean';
    return { message: `the value of label ${key} must be text`, mend: plain ? `write it in quotes: "${value}"` : 'write it in quotes' };
  }
  if (value === '' || isName(value)) return undefined;
  return {
    message: `the value of label ${key} is no label value: ${JSON.stringify(value)}`,
    mend: `use at most ${maxName} letters, digits, \`-\`, \`_\` and \`.\`, with a letter or digit at both ends`,
  };
}

const isName = (text: string): boolean => text.length <= maxName && name.test(text);
