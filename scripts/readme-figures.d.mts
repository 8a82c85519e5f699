/** The README with the figures of the results in a folder. */
export declare function withFigures(readme: string, resultsFolder: string): string;
