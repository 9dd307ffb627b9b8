// `$(NAME)` in command, args and env, as Kubernetes expands it: `$$` stands for `$`, an unknown name stays as written.

export type Variables = ReadonlyMap<string, string>;

export function expand(text: string, variables: Variables): string {
  return text.replace(/\$(\$|\(([^)]*)\))/g, (written: string, after: string, name: string | undefined) => {
    if (after === '$') return '$';
    return variables.get(name ?? '') ?? written;
  });
}

/** In order: a value may use the variables that stand before it; a name given twice has its last value. */
export function expandEnv(entries: readonly { readonly name: string; readonly value?: string | null }[]): Map<string, string> {
  const variables = new Map<string, string>();
  for (const { name, value } of entries) variables.set(name, expand(value ?? '', variables));
  return variables;
}
