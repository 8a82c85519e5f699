/** What the tests read of the lint configuration. */
export const layers: Readonly<Record<string, readonly string[]>>;
export const fileFolders: readonly string[];
export const ownFileReaders: readonly string[];
export function importable(folder: string): string[];
