plugins {
    kotlin("jvm")
    `java-test-fixtures`
}

kotlin { jvmToolchain(17) }

dependencies {
    api("org.jetbrains.kotlinx:kotlinx-coroutines-core:1.8.1")
    implementation("org.jetbrains.kotlinx:kotlinx-serialization-json:1.9.0")
}

val goldenVectors by tasks.registering(JavaExec::class) {
    description = "Runs the core's tests on the golden vectors."
    classpath = sourceSets["test"].runtimeClasspath
    mainClass = "segmentanything.MainKt"
    systemProperty("golden.vectors", file("../../golden_vectors/cases"))
}

tasks.check { dependsOn(goldenVectors) }
