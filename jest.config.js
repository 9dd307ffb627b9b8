// Jest runs the .ts files as they are: the transform only strips the types (jest.transform.js).
export default {
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '\\.ts$': './jest.transform.js' },
  testMatch: ['**/*.test.ts'],
  testPathIgnorePatterns: ['/node_modules/', '/build/'],
  testEnvironment: 'node',
  testTimeout: 60_000,
};
