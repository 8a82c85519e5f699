// Prettier, run by QuickJS, formats files: scriptArguments are pairs of source and result.
for (const name of ['standalone', 'babel', 'estree']) loadScript(`/job/${name}.js`);
(async () => {
  for (let i = 0; i < scriptArguments.length; i += 2) {
    const source = readFile(scriptArguments[i]);
    const formatted = await prettier.format(source, {
      parser: 'babel',
      plugins: [prettierPlugins.babel, prettierPlugins.estree],
      printWidth: 100,
    });
    writeFile(scriptArguments[i + 1], formatted);
    print(`${scriptArguments[i]}: ${source.length} characters, formatted ${formatted.length}`);
  }
})().catch((error) => print(`failed: ${error}\n${error.stack}`));
