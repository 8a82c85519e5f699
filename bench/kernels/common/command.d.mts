export const hasClang: boolean;
export function compileKernelCommand(name: string, times: number, output: string): string;
