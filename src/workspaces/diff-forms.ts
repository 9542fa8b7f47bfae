/** The list, two NULs, the patch: one process finds the differences once. */
export const diffForms = ['--raw', '--numstat', '-z', '--no-abbrev', '--patch', '--binary'];

/** Of what there is, and nothing that an attribute or a setting could ask for. */
export const plainDiff = [...['-M', '--no-ext-diff', '--no-textconv', '--no-color', '--ignore-submodules=all']];
