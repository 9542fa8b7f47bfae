import { readdirSync, readFileSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';

/** `0001-jobs.sql` takes version 0 to 1, and so on: a file that was released is never changed. */
const migrationsUrl = new URL('./migrations/', import.meta.url);

/**
 * Brings a database to the newest schema, each step in a transaction of its own, and takes the write lock in any case.
 * Throws, having changed nothing, when the database was written by a newer version of the service.
 */
export function migrate(db: DatabaseSync): void {
  const migrations = readMigrations();
  inTransaction(db, () => {
    if (versionOf(db) > migrations.length) {
      throw new Error(
        `its schema has version ${versionOf(db)}, this service knows versions up to ${migrations.length}: ` +
          'run the newer service that wrote it, or use another file',
      );
    }
  });
  for (let version = versionOf(db); version < migrations.length; version += 1) {
    inTransaction(db, () => {
      db.exec(migrations[version] ?? '');
      db.exec(`PRAGMA user_version = ${version + 1}`);
    });
  }
}

function readMigrations(): readonly string[] {
  const names = readdirSync(migrationsUrl).filter((name) => name.endsWith('.sql'));
  return names.toSorted().map((name) => readFileSync(new URL(name, migrationsUrl), 'utf8'));
}

function versionOf(db: DatabaseSync): number {
  return Number(db.prepare('PRAGMA user_version').get()?.['user_version']);
}

function inTransaction(db: DatabaseSync, work: () => void): void {
  db.exec('BEGIN IMMEDIATE');
  try {
    work();
    db.exec('COMMIT');
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}
