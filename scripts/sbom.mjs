// Writes the software bill of materials (CycloneDX) of the packages that users run, from the lock file and the installed
// packages, without asking a registry.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Returns the document as text. The same packages give the same text. */
export function billOfMaterials() {
  const { name, packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'));
  // npm's --omit also drops packages that users run if a development tool needs them.
  const isTool = new Set(
    Object.entries(packages).flatMap(([path, { version, dev }]) =>
      dev ? [`${path.split('node_modules/').at(-1)}@${version}`] : [],
    ),
  );
  const isKept = (ref) => !isTool.has(ref);
  const args = ['sbom', '--sbom-format', 'cyclonedx'];
  const bill = JSON.parse(execFileSync('npm', args, { encoding: 'utf8', maxBuffer: 2 ** 26 }));
  delete bill.serialNumber;
  delete bill.metadata.timestamp;
  bill.metadata.component.name = name; // npm takes it from the folder's name
  bill.components = bill.components.filter((component) => isKept(component['bom-ref']));
  // The address from which a package was downloaded depends on the machine. Its hash does not.
  for (const component of bill.components) {
    component.externalReferences = component.externalReferences?.filter(
      ({ type }) => type !== 'distribution',
    );
  }
  bill.dependencies = bill.dependencies
    .filter(({ ref }) => isKept(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter(isKept) }));
  return `${JSON.stringify(bill, null, 2)}\n`;
}
