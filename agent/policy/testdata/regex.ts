// Regular expressions that Envoy takes and refuses.
export const taken: readonly string[] = [
  '/a', '^/a$', '.*', '/public(/.*)?', 'GET|POST', '[a-z0-9-]+\\.example\\.com', 'a{1000}', 'a{0,1000}', '(a{30}){30}', '\\pL', '\\p{Greek}', '\\p{^Greek}', '[[:alpha:]]', '(?i)a', '(?i-s:a)', '(?U)a', '(?P<n>a)',
  '(?<n>a)', '\\Qa.b\\E', '\\z', '\\A', '\\b', '\\_', '\\07', 'a{,3}', 'x{3', '{', ']', '[]a]', 'é', '\\x{FF}', '[a-z]{1000}', '(a|b|c|d){1000}', '\\p{Latin}{1000}', '/'.repeat(10_000), '[a-z]'.repeat(2_000), 'a|'.repeat(4_999) + 'ab', '(((((a+)+)+)+)+)+',
];

export const refused: readonly { readonly text: string; readonly problem: string }[] = [
  { text: '', problem: 'it is empty' },
  { text: '(', problem: 'missing closing ): `(`' },
  { text: ')', problem: 'unexpected ): `)`' },
  { text: '[', problem: 'missing closing ]: `[`' },
  { text: '[z-a]', problem: 'invalid character class range: `z-a`' },
  { text: 'a**', problem: 'invalid nested repetition operator: `**`' },
  { text: 'a++', problem: 'invalid nested repetition operator: `++`' },
  { text: 'a{1001}', problem: 'invalid repeat count: `{1001}`' },
  { text: 'a{2,1}', problem: 'invalid repeat count: `{2,1}`' },
  { text: '(a{100}){100}', problem: 'invalid repeat count: `{100}`' },
  { text: '(?=a)', problem: 'invalid or unsupported Perl syntax: `(?=`' },
  { text: '(?!a)', problem: 'invalid or unsupported Perl syntax: `(?!`' },
  { text: '(?>a)', problem: 'invalid or unsupported Perl syntax: `(?>`' },
  { text: '\\1', problem: 'invalid escape sequence: `\\1`' },
  { text: '\\Z', problem: 'invalid escape sequence: `\\Z`' },
  { text: '\\h', problem: 'invalid escape sequence: `\\h`' },
  { text: '\\p{Foo}', problem: 'invalid character class range: `\\p{Foo}`' },
  { text: '[[:foo:]]', problem: 'invalid character class range: `[:foo:]`' },
  { text: '\\', problem: 'trailing backslash at end of expression' },
  { text: '\\x{100}', problem: 'a \\x{...} beyond \\x{FF}: requests are bytes' },
];
